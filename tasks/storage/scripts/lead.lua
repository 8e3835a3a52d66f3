-- lead: takes, renews or releases the sweeper's lock. Atomic because a lock that expires between
-- check and renewal would be renewed, or released, although another worker holds it by then. Two
-- sweepers at once do no harm, they only do the work twice.
-- KEYS[1] leader. ARGV[1] worker, ARGV[2] life of the lock in ms, 0 to release it.
-- Returns 1: the worker leads; 0: another worker or none leads.
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
-- A full Redis checks only the first write of a script: see commit.lua.
redis.call('PEXPIRE', leader, life_ms)
redis.call('SET', leader, worker, 'PX', life_ms)
return 1
