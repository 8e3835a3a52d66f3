-- beat: a worker's heartbeat and, as its answer, the exchanges it must close. Atomic because
-- an answered beat is the proof that the worker knew of every drain begun before it.
-- KEYS[1] beats, [2] acked, [3] the worker's drains. ARGV[1] worker, ARGV[2] time in ms of
-- its last beat whose answer it received, 0 for none, [3] 1: nothing is written where this Redis
-- does not tell its identity, for a worker that cannot take a code is not alive.
-- Returns {now_ms, run_id, {submission id, instant ms, ...}}; the caller hands ``now_ms`` back
-- with its next beat. What somebody else left under the name of the drains, and what is no hash, is
-- deleted and told as a row without an instant.
local beats, acked, drains = KEYS[1], KEYS[2], KEYS[3]
local worker, last_answered_ms, needs_identity = ARGV[1], ARGV[2], ARGV[3] == '1'

local time = redis.call('TIME')
local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'embedded'
if run_id == 'embedded' and needs_identity then
  return {now_ms, run_id, {}}
end
redis.call('ZREM', beats, '') -- A full Redis refuses no later write of a script: see commit.lua.
redis.call('ZADD', beats, now_ms, worker)
if last_answered_ms ~= '0' then
  redis.call('ZADD', acked, last_answered_ms, worker)
end
local rows = redis.pcall('HGETALL', drains)
if rows.err then -- Of another kind: a commit could not write there either.
  redis.call('DEL', drains)
  rows = {'', ''}
end
return {now_ms, run_id, rows}
