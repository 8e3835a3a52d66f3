-- woken: records that queued submissions were woken just now. Atomic so that it adds no member: a
-- submission that is no longer queued stays out of the index.
-- KEYS[1] queued. ARGV: members.
-- Returns {the number of members that are still queued}.
local queued = KEYS[1]

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local waiting = 0
redis.call('ZREM', queued, '') -- A full Redis checks only the first write: see commit.lua.
for _, member in ipairs(ARGV) do
  if redis.call('ZSCORE', queued, member) then
    redis.call('ZADD', queued, 'XX', now, member)
    waiting = waiting + 1
  end
end
return {waiting}
