-- lead: take or renew the sweeper's lock. Atomic because a lock that expired between look and
-- renewal would be renewed over its new holder. Two sweepers do no harm, they only do work
-- twice.
-- KEYS[1] leader. ARGV[1] worker, ARGV[2] life of the lock in ms.
-- Returns 1: the worker leads; 0: another one does.
local leader = KEYS[1]
local worker, life_ms = ARGV[1], ARGV[2]

local holder = redis.call('GET', leader)
if holder and holder ~= worker then
  return 0
end
redis.call('SET', leader, worker, 'PX', life_ms)
return 1
