-- read: reads one instant of the ledger: Redis time, the identity of this Redis and the values of
-- KEYS, so that a decision is made on facts of one moment; atomic because TIME and the values must
-- belong together. The identity is read here each time, because an earlier value is stale after a
-- reconnect.
-- KEYS: strings to read. ARGV[1]: a sorted set of instants in ms to count, or ''; ARGV[2]: an
-- age in ms; ARGV[3]: 1 where a replica must not answer. A commit would fail on a replica; where no
-- commit follows, this check fails instead, else a client could read outdated records without end.
-- Returns {now_ms, run_id, count, aged, filled, {value or nil, ...}}: the number of members of the
-- set, and of those that are at least that old; with a set to count also the share of `maxmemory`
-- in use, in thousandths, 0 without a limit; run_id is 'embedded' where INFO is unknown (fakeredis).
-- The caller makes its decision on these values. An error READONLY: this is a replica.
local counted, age_ms, needs_master = ARGV[1], ARGV[2], ARGV[3] == '1'

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if needs_master then
  local role = redis.pcall('INFO', 'replication')
  if type(role) == 'string' and string.find(role, 'role:slave', 1, true) then
    return redis.error_reply('READONLY This is a replica')
  end
end
local run_id = identity()
local function word(text, name) -- A plain search; one with a pattern takes 20 us (measured).
  local _, last = string.find(text, '\n' .. name .. ':', 1, true)
  return last and string.match(text, '^%w+', last + 1)
end
local function number(text, name)
  return tonumber(word(text, name) or 0)
end
local count, aged, filled = 0, 0, 0
if counted ~= '' then
  local memory = redis.pcall('INFO', 'memory')
  local most = type(memory) == 'string' and number(memory, 'maxmemory') or 0
  if most > 0 then
    -- The same calculation by which Redis decides whether to refuse a write.
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
