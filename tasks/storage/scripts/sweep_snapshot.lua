-- sweep_snapshot: reads the snapshot for a sweep, of one instant: intents that are due, workers by their
-- heartbeats and answered heartbeats, and the submissions that wait longest. Atomic because
-- heartbeats and the clock that they are compared with must be of the same moment.
-- KEYS[1] due, [2] beats, [3] acked, [4] queued. ARGV[1] maximum number of intents, ARGV[2] age
-- in ms from which a queued submission may be woken again, ARGV[3] silence in ms from which a
-- worker counts as lost, ARGV[4] prefix of the keys of the sets of intents that workers hold,
-- ARGV[5] number of due intents to leave out, counted from the longest due: the sweep has handled
-- them already and left them unchanged.
-- Returns {now_ms, run_id, due, acked, queued, waiting, lost}: due and acked as member, score pairs;
-- members whose last wake is old enough, the oldest first; the number of queued submissions; and a
-- {worker, beat ms, {member, ...}} for each silent worker.
local due_key, beats_key, acked_key, queued_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local most, age_ms, silence_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local holds_prefix, skip = ARGV[4], tonumber(ARGV[5])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now = string.format('%.0f', now_ms)
local run_id = identity()
local stale = string.format('%.0f', now_ms - age_ms)
local silent = string.format('%.0f', now_ms - silence_ms)
local lost = {}
local names = redis.call('ZRANGEBYSCORE', beats_key, '-inf', silent, 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #names, 2 do
  local held = redis.pcall('SMEMBERS', holds_prefix .. names[i])
  lost[#lost + 1] = {names[i], names[i + 1], held.err and {} or held} -- An error: it is no set.
end
return {
  now,
  run_id,
  redis.call('ZRANGEBYSCORE', due_key, '-inf', now, 'WITHSCORES', 'LIMIT', skip, most),
  redis.call('ZRANGE', acked_key, 0, -1, 'WITHSCORES'),
  redis.call('ZRANGEBYSCORE', queued_key, '-inf', stale, 'LIMIT', 0, most),
  redis.call('ZCARD', queued_key),
  lost,
}
