-- forget: removes a worker that is lost or leaves, or an intent whose key has expired, from the
-- indexes. Atomic because a lost worker that sends a heartbeat between check and removal, or an
-- intent that is opened again, must not be removed.
-- KEYS[1] beats, [2] acked, [3] due, [4] queued, [5] the worker's holds or the intent's key.
-- ARGV[1] 'worker' or 'intent', ARGV[2] its name, ARGV[3] the last heartbeat in ms by which a worker
-- was judged lost, '' for one that leaves, whose last heartbeat may be unanswered, and for an intent.
-- Returns 1: removed; 0: the worker or intent exists again, nothing was changed.
local beats, acked, due, queued, thing = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local kind, name, judged_ms = ARGV[1], ARGV[2], ARGV[3]

if kind == 'worker' then
  local beat = redis.call('ZSCORE', beats, name)
  if judged_ms ~= '' and beat and tonumber(beat) ~= tonumber(judged_ms) then
    return 0
  end
  redis.call('ZREM', beats, name)
  redis.call('ZREM', acked, name)
  redis.call('DEL', thing)
  return 1
end
if redis.call('EXISTS', thing) == 1 then
  return 0
end
redis.call('ZREM', due, name)
redis.call('ZREM', queued, name)
return 1
