-- beat: records a worker's heartbeat and returns the exchanges that the worker must close. Atomic
-- because an answered heartbeat proves that the worker knows of every drain begun before it.
-- KEYS[1] beats, [2] acked, [3] the worker's drains. ARGV[1] worker, ARGV[2] time in ms of
-- its last heartbeat whose answer it received, 0 for none, [3] 1: write nothing where this Redis
-- does not show its identity, because a worker that cannot take a code must not count as alive.
-- Returns {now_ms, run_id, {submission id, instant ms, ...}}; the caller sends ``now_ms`` back
-- with its next heartbeat. If another program has put a value that is no hash under the name of the
-- drains, the script deletes it and returns one row without an instant.
local beats, acked, drains = KEYS[1], KEYS[2], KEYS[3]
local worker, last_answered_ms, needs_identity = ARGV[1], ARGV[2], ARGV[3] == '1'

local time = redis.call('TIME')
local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local run_id = identity()
if run_id == 'embedded' and needs_identity then
  return {now_ms, run_id, {}}
end
redis.call('ZREM', beats, '') -- A full Redis checks only the first write: see commit.lua.
redis.call('ZADD', beats, now_ms, worker)
if last_answered_ms ~= '0' then
  redis.call('ZADD', acked, last_answered_ms, worker)
end
local rows = redis.pcall('HGETALL', drains)
if rows.err then -- Not a hash: a commit could not write a drain there either.
  redis.call('DEL', drains)
  rows = {'', ''}
end
return {now_ms, run_id, rows}
