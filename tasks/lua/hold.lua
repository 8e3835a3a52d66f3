-- hold: take, keep or let go a client session's registration. Atomic because a later session
-- of the same account replaces an elder one: a renewal or a farewell of the elder that looked
-- first and wrote then would take the account away from the later one.
-- KEYS[1] registration. ARGV[1] the session's own, ARGV[2] its life in ms, ARGV[3] ``take``
-- (whoever holds it), ``keep`` (if nobody else does) or ``leave`` (if it is its own).
-- Returns {held, now_ms}; held 1: it is as asked; 0: another session is registered.
local name = KEYS[1]
local own, life_ms, how = ARGV[1], ARGV[2], ARGV[3]

local time = redis.call('TIME')
local now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local holder = how ~= 'take' and redis.call('GET', name)
if holder and holder ~= own then
  return {0, now_ms}
end
if how == 'leave' then
  redis.call('DEL', name)
else
  redis.call('SET', name, own, 'PX', life_ms)
end
return {1, now_ms}
