-- take: returns a sealed session to one caller only. Atomic because two backends that ask at the
-- same time must not both get it; the same caller may ask again for some time, so that a lost reply
-- is not a lost session.
-- KEYS[1] session, [2] taken. ARGV[1] the caller's token, ARGV[2] time in ms for which the caller
-- may ask again. Returns the sealed session, or nil: there is none, or another token took it. An
-- error READONLY: this is a replica; after a switchover it could return nil without end.
local session_key, taken_key = KEYS[1], KEYS[2]
local token, again_ms = ARGV[1], ARGV[2]

local role = redis.pcall('INFO', 'replication')
if type(role) == 'string' and string.find(role, 'role:slave', 1, true) then
  return redis.error_reply('READONLY This is a replica')
end
local sealed = redis.call('GET', session_key)
if not sealed then
  return false
end
local taker = redis.call('GET', taken_key)
if taker and taker ~= token then
  return false
end
if not taker then
  -- In this order, because the session must not outlive the record of its taker.
  redis.call('PEXPIRE', session_key, again_ms)
  redis.call('SET', taken_key, token, 'PX', again_ms)
end
return sealed
