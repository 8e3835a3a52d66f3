-- read: one instant of the ledger. Returns Redis time, the identity of this Redis and the
-- values of KEYS, so that a decision is made on facts of one moment; atomic because TIME and
-- the values must belong together. Identity is read here, never remembered: a value read
-- earlier is stale after a reconnect.
-- KEYS: strings to read. ARGV[1]: a sorted set to count, or ''.
-- Returns {now_ms, run_id, count, {value or nil, ...}}; run_id is 'embedded' where INFO is
-- unknown (fakeredis). The caller decides on it.
local counted = ARGV[1]

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local info = redis.pcall('INFO', 'server')
local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'embedded'
local count = 0
if counted ~= '' then
  count = redis.call('ZCARD', counted)
end
local values = {}
for i = 1, #KEYS do
  values[i] = redis.call('GET', KEYS[i])
end
return {string.format('%.0f', now_ms), run_id, count, values}
