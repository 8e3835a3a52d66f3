-- woken: note that a waiting submission was woken just now. Atomic only in that it adds
-- nothing: a submission that is no longer queued stays out of the index.
-- KEYS[1] queued. ARGV: members.
-- Returns {how many of them still wait}.
local queued = KEYS[1]

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local waiting = 0
redis.call('ZREM', queued, '') -- A full Redis refuses no later write of a script: see commit.lua.
for _, member in ipairs(ARGV) do
  if redis.call('ZSCORE', queued, member) then
    redis.call('ZADD', queued, 'XX', now, member)
    waiting = waiting + 1
  end
end
return {waiting}
