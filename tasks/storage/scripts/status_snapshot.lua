-- status_snapshot: reads the snapshot for an operator's status, of one instant: workers with the intents
-- they hold, queued submissions, overdue intents. Changes nothing. Atomic because all ages need the
-- same clock, and a worker that is removed in between would still be shown with its intents.
-- KEYS[1] beats, [2] queued, [3] due, [4] leader, [5] dead letters. ARGV[1] maximum number of rows
-- of each kind, ARGV[2] number of submissions, the oldest wakes first, among which the oldest is
-- searched, ARGV[3] time in ms after which a due row counts as overdue, ARGV[4] prefix of the keys
-- of the sets of intents that workers hold, ARGV[5] of the hashes of their drains, ARGV[6] of the
-- intents, ARGV[7] number of due intents, the longest due first, that are checked for a running
-- exchange, which excuses them.
-- Returns {now_ms, workers, waiting, oldest, overdue, late, leader or '', dead, filled}: {name,
-- beat ms, intents held, exchanges to close} for each worker; the number of queued submissions;
-- {member, submission id, queued ms} of the submission with the earliest deadline among those whose
-- intent has no running exchange, or {}; the number of overdue intents; their members, the longest
-- due first; the worker that sweeps; the number of dead letters; the share of `maxmemory` in use as
-- read.lua computes it, in thousandths, -1 without a limit.
local beats_key, queued_key, due_key = KEYS[1], KEYS[2], KEYS[3]
local leader_key, dead_key = KEYS[4], KEYS[5]
local most, looked_at, overdue_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local holds_prefix, drains_prefix, intent_prefix = ARGV[4], ARGV[5], ARGV[6]
local late_of = tonumber(ARGV[7])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

-- Of an intent of another version, or a damaged one, only the name is shown.
local function read(member)
  local stored = redis.call('GET', intent_prefix .. member)
  local known, intent = pcall(cjson.decode, stored or '{}')
  if not known or type(intent) ~= 'table' then
    return nil, nil
  end
  local current, wire = intent.current, intent.wire
  if type(current) ~= 'table' or not tonumber(current.deadline_ms)
    or not tonumber(current.queued_at_ms) or type(current.id) ~= 'string' then
    current = nil
  end
  if type(wire) ~= 'table' or not tonumber(wire.until_ms) then
    wire = nil
  end
  return current, wire
end

local function size(command, key) -- Returns 0 for a key of another type.
  local found = redis.pcall(command, key)
  return type(found) == 'number' and found or 0
end

local workers = {}
local beats = redis.call('ZREVRANGEBYSCORE', beats_key, '+inf', '-inf', 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #beats, 2 do
  local name = beats[i]
  local held = size('SCARD', holds_prefix .. name)
  local drained = size('HLEN', drains_prefix .. name)
  workers[#workers + 1] = {name, beats[i + 1], held, drained}
end

-- A repeated wake moves a submission to the end of this order, so the first need not be the oldest.
local oldest, oldest_due = {}, nil
for _, member in ipairs(redis.call('ZRANGE', queued_key, 0, looked_at - 1)) do
  local due = tonumber(redis.call('ZSCORE', due_key, member) or '')
  if due and (not oldest_due or due < oldest_due) then
    local current, wire = read(member)
    if current and not wire then
      oldest = {member, current.id, string.format('%.0f', current.queued_at_ms)}
      oldest_due = due
    end
  end
end

-- The sweep waits until a lost worker's exchange must have ended, so such an intent is not overdue.
local late_at = string.format('%.0f', now_ms - overdue_ms)
local late, excused = {}, 0
for _, member in ipairs(redis.call('ZRANGEBYSCORE', due_key, '-inf', late_at, 'LIMIT', 0, late_of)) do
  local current, wire = read(member)
  local unanswered = current and tonumber(current.deadline_ms) <= now_ms
  if wire and tonumber(wire.until_ms) > now_ms and not unanswered then
    excused = excused + 1
  elseif #late < most then
    late[#late + 1] = member
  end
end

local memory = redis.pcall('INFO', 'memory')
local function number(name)
  return tonumber(string.match(memory, '%f[%w]' .. name .. ':(%d+)') or 0)
end
local filled = -1
if type(memory) == 'string' and number('maxmemory') > 0 then
  local used = number('used_memory') - number('mem_not_counted_for_evict')
  filled = math.floor(used * 1000 / number('maxmemory'))
end

return {
  string.format('%.0f', now_ms),
  workers,
  redis.call('ZCARD', queued_key),
  oldest,
  redis.call('ZCOUNT', due_key, '-inf', late_at) - excused,
  late,
  redis.call('GET', leader_key) or '',
  redis.call('LLEN', dead_key),
  filled,
}
