-- hold: take, keep or let go a client session's registration. Atomic because a later session
-- of the same account replaces an elder one: a renewal or a farewell of the elder that looked
-- first and wrote then would take the account away from the later one.
-- KEYS[1] registration. ARGV[1] the session's own, ARGV[2] its life in ms, ARGV[3] ``take``
-- (whoever holds it), ``keep`` (if no other registration does: none is there for longer than that
-- life, so what has no end, or a later one, is overwritten) or ``leave`` (if it is its own).
-- Returns 1: it is as asked; 0: another one is registered, and stays.
local name = KEYS[1]
local own, life_ms, how = ARGV[1], ARGV[2], ARGV[3]

local holder = how ~= 'take' and redis.call('GET', name)
if holder and holder ~= own then
  local left_ms = how == 'keep' and redis.pcall('PTTL', name)
  -- Where the ACL is an older one this may not be asked, and the other one stays.
  if type(left_ms) ~= 'number' or (left_ms >= 0 and left_ms <= tonumber(life_ms)) then
    return 0
  end
end
if how == 'leave' then
  redis.call('DEL', name)
else
  redis.call('SET', name, own, 'PX', life_ms)
end
return 1
