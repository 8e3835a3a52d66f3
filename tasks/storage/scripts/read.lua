-- read: one instant of the ledger. Returns Redis time, the identity of this Redis and the
-- values of KEYS, so that a decision is made on facts of one moment; atomic because TIME and
-- the values must belong together. Identity is read here, never remembered: a value read
-- earlier is stale after a reconnect.
-- KEYS: strings to read. ARGV[1]: a sorted set of instants in ms to count, or ''; ARGV[2]: an
-- age in ms; ARGV[3]: 1 where no commit will follow, which a replica would refuse: after a
-- switchover it may hold records of long ago, and it would be asked for ever.
-- Returns {now_ms, run_id, count, aged, filled, {value or nil, ...}}: how many members it has and
-- how many of them are at least that old; with a set to count also how much of `maxmemory` is in
-- use, in thousandths, 0 without a limit; run_id is 'embedded' where INFO is unknown (fakeredis).
-- The caller decides on it. An error READONLY: this is a replica.
local counted, age_ms, needs_master = ARGV[1], ARGV[2], ARGV[3] == '1'

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if needs_master then
  local role = redis.pcall('INFO', 'replication')
  if type(role) == 'string' and string.find(role, 'role:slave', 1, true) then
    return redis.error_reply('READONLY This is a replica')
  end
end
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'embedded'
local count, aged, filled = 0, 0, 0
local function number(text, name) -- A search without a pattern: one with it takes 20 us (measured).
  local _, last = string.find(text, '\n' .. name .. ':', 1, true)
  return tonumber(last and string.match(text, '^%d+', last + 1) or 0)
end
if counted ~= '' then
  local memory = redis.pcall('INFO', 'memory')
  local most = type(memory) == 'string' and number(memory, 'maxmemory') or 0
  if most > 0 then
    -- What Redis itself counts when it refuses a write.
    local used = number(memory, 'used_memory') - number(memory, 'mem_not_counted_for_evict')
    filled = math.floor(used * 1000 / most)
  end
  count = redis.call('ZCARD', counted)
  aged = redis.call('ZCOUNT', counted, '-inf', string.format('%.0f', now_ms - age_ms))
end
local values = {}
for i = 1, #KEYS do
  values[i] = redis.call('GET', KEYS[i])
end
return {string.format('%.0f', now_ms), run_id, count, aged, filled, values}
