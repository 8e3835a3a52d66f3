-- commit: writes everything that one decision does to the ledger, or nothing. It contains no rules;
-- it guarantees that a decision made on version v is written only over version v, that a final
-- record is written once and published by the commit that wrote it, and that a repeated
-- command (same token, reply lost) is recognised. Atomic because a crash between any two of
-- these writes would lose an outcome or send a code twice. Checks come first, then writes,
-- then publications (PUBLISH works where SET is refused).
-- KEYS[1] intent, [2] due, [3] queued, [4] outcomes stream; then all other keys that the plan names:
-- a cluster that moves keys between nodes then refuses the script before its first write. ARGV[1]:
-- the plan, JSON:
--   intake         true: the commit accepts new work, so a full Redis refuses it; it refuses no other
--   version        expected version of the intent; 0: there must be none
--   token          id of this command, which the caller uses once
--   member         the intent's name inside sets
--   not_after      ms or absent: refuse when Redis time is past it
--   near           ms or absent: refuse when Redis time is not within a second of it
--   run_id         identity that this Redis must have, or absent
--   expect         {key: value}: the key must hold exactly this value; '' means absent
--   intent         JSON to write, or absent to leave the intent; expire_at: its end, ms
--   due, queued    scores in ms; absent removes the member; an existing instant of the last wake
--                  is kept unless requeue is true
--   hold, unhold   key of the set of a worker's intents: add, remove
--   drain          [key, submission id, instant ms]; undrain [key, submission id]
--   put            [[key, value, ttl ms or 0], ...]; del [key, ...]
--   records        [[key, JSON, ttl ms, final 0|1, channel, channel], ...]
--   messages       [[channel, text], ...]; log [JSON, ...] goes to the stream
--   log_max        approximate maximum length of the stream
--   wakes          [message, ...]: written to queue, the list that workers take wakes from
-- Returns {code, now_ms, written}: 'done' and the number of final records written; 'again': this
-- token ran already, the caller treats it as done; 'conflict': another version or time, the caller
-- reads again; 'late': past not_after; 'moved': another Redis; 'taken': an expectation failed. All
-- but the first two wrote nothing.
local intent_key, due_key, queued_key, stream_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local plan = cjson.decode(ARGV[1])

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function reply(code, written)
  return {code, string.format('%.0f', now_ms), written or 0}
end

local stored = redis.call('GET', intent_key)
local version = 0
if stored then
  local current = cjson.decode(stored)
  version = current.version
  for _, token in ipairs(current.tokens) do
    if token == plan.token then
      return reply('again')
    end
  end
end
if plan.run_id then
  local info = redis.pcall('INFO', 'server')
  local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or 'embedded'
  if run_id ~= plan.run_id then
    return reply('moved')
  end
end
if version ~= plan.version then
  return reply('conflict')
end
if plan.near and math.abs(now_ms - plan.near) > 1000 then
  return reply('conflict')
end
if plan.not_after and now_ms > plan.not_after then
  return reply('late')
end
for key, value in pairs(plan.expect) do
  if (redis.call('GET', key) or '') ~= value then
    return reply('taken')
  end
end

if not plan.intake then
  -- A full Redis refuses a growing write only if it is the script's first write, because a script is
  -- not stopped halfway. So the first write is a removal, of a member that does not exist if need be.
  redis.call('ZREM', queued_key, plan.intent and not plan.queued and plan.member or '')
end
if plan.intent then
  redis.call('SET', intent_key, plan.intent, 'PXAT', string.format('%.0f', plan.expire_at))
  if plan.due then
    redis.call('ZADD', due_key, string.format('%.0f', plan.due), plan.member)
  else
    redis.call('ZREM', due_key, plan.member)
  end
  if plan.queued and plan.requeue then
    redis.call('ZADD', queued_key, string.format('%.0f', plan.queued), plan.member)
  elseif plan.queued then
    redis.call('ZADD', queued_key, 'NX', string.format('%.0f', plan.queued), plan.member)
  elseif plan.intake then -- Plans without intake have removed the member above.
    redis.call('ZREM', queued_key, plan.member)
  end
end
for _, item in ipairs(plan.put) do
  if item[3] > 0 then
    redis.call('SET', item[1], item[2], 'PX', string.format('%.0f', item[3]))
  else
    redis.call('SET', item[1], item[2])
  end
end
if plan.hold then
  redis.call('SADD', plan.hold, plan.member)
  redis.call('PEXPIRE', plan.hold, 86400000)
end
if plan.unhold then
  redis.call('SREM', plan.unhold, plan.member)
end
if plan.drain then
  redis.call('HSET', plan.drain[1], plan.drain[2], string.format('%.0f', plan.drain[3]))
  redis.call('PEXPIRE', plan.drain[1], 86400000)
end
if plan.undrain then
  redis.call('HDEL', plan.undrain[1], plan.undrain[2])
end
local function state_of(text) -- An unreadable record is no outcome, so a new record replaces it.
  local readable, record = pcall(cjson.decode, text)
  return readable and type(record) == 'table' and record.state
end
local written = {}
for _, record in ipairs(plan.records) do
  local old = redis.call('GET', record[1])
  if not (old and state_of(old) == 'final') then
    redis.call('SET', record[1], record[2], 'PX', string.format('%.0f', record[3]))
    if record[4] == 1 then
      written[#written + 1] = record
    end
  end
end
if plan.del[1] then
  redis.call('DEL', unpack(plan.del))
end
for _, record in ipairs(written) do
  redis.call('XADD', stream_key, 'MAXLEN', '~', plan.log_max, '*', 'record', record[2])
end
for _, text in ipairs(plan.log) do
  redis.call('XADD', stream_key, 'MAXLEN', '~', plan.log_max, '*', 'record', text)
end
for _, message in ipairs(plan.wakes) do
  redis.call('LPUSH', plan.queue, message)
end
for _, record in ipairs(written) do
  redis.call('PUBLISH', record[5], record[2])
  redis.call('PUBLISH', record[6], record[2])
end
for _, message in ipairs(plan.messages) do
  redis.call('PUBLISH', message[1], message[2])
end
return reply('done', #written)
