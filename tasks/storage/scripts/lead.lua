-- lead: take, renew or give up the sweeper's lock. Atomic because a lock that expired between
-- look and renewal would be renewed, or taken away, over its new holder. Two sweepers do no harm,
-- they only do work twice.
-- KEYS[1] leader. ARGV[1] worker, ARGV[2] life of the lock in ms, 0 to give it up.
-- Returns 1: the worker leads; 0: it does not, another one or nobody does.
local leader = KEYS[1]
local worker, life_ms = ARGV[1], ARGV[2]

local holder = redis.call('GET', leader)
if holder and holder ~= worker then
  return 0
end
if tonumber(life_ms) == 0 then
  redis.call('DEL', leader)
  return 0
end
-- A full Redis refuses no later write of a script: see commit.lua.
redis.call('PEXPIRE', leader, life_ms)
redis.call('SET', leader, worker, 'PX', life_ms)
return 1
