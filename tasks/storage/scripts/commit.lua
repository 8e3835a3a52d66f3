-- commit: writes everything that one decision does to the ledger, or nothing. It contains no rules;
-- it guarantees that a decision made on version v is written only over version v, that a final
-- record is written once and published by the commit that wrote it, and that a repeated
-- command (same token, reply lost) is recognised. Atomic because a crash between any two of
-- these writes would lose an outcome or send a code twice. Checks come first, then writes,
-- then publications (PUBLISH works where SET is refused).
-- KEYS[1] intent, [2] due, [3] queued, [4] outcomes stream; then the keys of the expectations, of the
-- values, of the records and to delete, in the order of their counts, and those of the commands: a
-- cluster that moves keys between nodes then refuses the script before its first write.
-- ARGV: the plan, as plain words: decoding JSON here took Redis longer than the writes.
--   ARGV[1]  token: id of this command, which the caller uses once
--   ARGV[2]  expected version of the intent; 0: there must be none
--   ARGV[3]  identity that this Redis must have
--   ARGV[4]  near, ms or '': refuse when Redis time is not within a second of it
--   ARGV[5]  not_after, ms or '': refuse when Redis time is past it
--   ARGV[6]  '1': the commit accepts new work, so a full Redis refuses it; it refuses no other
--   ARGV[7]  the intent's name inside sets
--   ARGV[8]  intent to write, JSON; '' leaves it; ARGV[9] its end, ms
--   ARGV[10], [11]  scores in due and queued, ms; '' removes the member
--   ARGV[12] '1': replace an existing score in queued, the instant of the last wake
--   ARGV[13] approximate maximum length of the stream; ARGV[14], [15] channels of final records
--   ARGV[16] number of expectations, [17] of values, [18] of records, [19] of keys to delete; then:
--   for each expectation the value that its key must hold; '' means absent
--   for each value: value, ttl in ms or 0
--   for each record: JSON, ttl in ms, final 0|1; written if its key holds no final record
--   commands up to the end, each after the number of its words, carried out as they are
-- Returns {code, now_ms, written}: 'done' and the number of final records written; 'again': this
-- token ran already, the caller treats it as done; 'conflict': another version or time, the caller
-- reads again; 'late': past not_after; 'moved': another Redis; 'taken': an expectation failed. All
-- but the first two wrote nothing.
local intent_key, due_key, queued_key, stream_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token, expected, expected_identity = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local near, not_after, intake = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local member, intent, due, queued = ARGV[7], ARGV[8], ARGV[10], ARGV[11]
local expectations, values = tonumber(ARGV[16]), tonumber(ARGV[17])
local records, removals = tonumber(ARGV[18]), tonumber(ARGV[19])
local key_at, at = 5, 20 -- The next key and the next word of the plan.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local function reply(code, written)
  return {code, string.format('%.0f', now_ms), written or 0}
end

local stored = redis.call('GET', intent_key)
local version = 0
if stored then
  -- Tokens and version come first; other orders, of the versions before, are decoded.
  local tokens, number = string.match(stored, '^{"v":%d+,"tokens":%[([^%]]*)%],"version":(%d+)[,}]')
  if not tokens then
    local current = cjson.decode(stored)
    tokens, number = cjson.encode(current.tokens), current.version
  end
  version = tonumber(number)
  if string.find(tokens, '"' .. token .. '"', 1, true) then
    return reply('again')
  end
end
if identity() ~= expected_identity then
  return reply('moved')
end
if version ~= expected then
  return reply('conflict')
end
if near and math.abs(now_ms - near) > 1000 then
  return reply('conflict')
end
if not_after and now_ms > not_after then
  return reply('late')
end
for _ = 1, expectations do
  if (redis.call('GET', KEYS[key_at]) or '') ~= ARGV[at] then
    return reply('taken')
  end
  key_at, at = key_at + 1, at + 1
end

local function remove()
  local first = 5 + expectations + values + records
  if removals > 0 then
    redis.call('DEL', unpack(KEYS, first, first + removals - 1))
  end
end
if not intake then
  -- A full Redis refuses a growing write only if it is the script's first write, because a script is
  -- not stopped halfway. So the first write is a removal, of a member that does not exist if need be.
  redis.call('ZREM', queued_key, intent ~= '' and queued == '' and member or '')
  remove()
end
if intent ~= '' then
  redis.call('SET', intent_key, intent, 'PXAT', ARGV[9])
  if due ~= '' then
    redis.call('ZADD', due_key, due, member)
  else
    redis.call('ZREM', due_key, member)
  end
  if queued ~= '' and ARGV[12] == '1' then
    redis.call('ZADD', queued_key, queued, member)
  elseif queued ~= '' then
    redis.call('ZADD', queued_key, 'NX', queued, member)
  elseif intake then -- Plans without intake have removed the member above.
    redis.call('ZREM', queued_key, member)
  end
end
for _ = 1, values do
  if ARGV[at + 1] ~= '0' then
    redis.call('SET', KEYS[key_at], ARGV[at], 'PX', ARGV[at + 1])
  else
    redis.call('SET', KEYS[key_at], ARGV[at])
  end
  key_at, at = key_at + 1, at + 2
end
local function is_final(text) -- An unreadable record is no outcome, so a new record replaces it.
  local state = string.match(text, '"seq":%d+,"state":"(%a+)"')
  if state == 'queued' or state == 'running' then
    return false
  end
  local readable, record = pcall(cjson.decode, text)
  return readable and type(record) == 'table' and record.state == 'final'
end
local written = {}
for _ = 1, records do
  local old = redis.call('GET', KEYS[key_at])
  if not (old and is_final(old)) then
    redis.call('SET', KEYS[key_at], ARGV[at], 'PX', ARGV[at + 1])
    if ARGV[at + 2] == '1' then
      written[#written + 1] = ARGV[at]
    end
  end
  key_at, at = key_at + 1, at + 3
end
if intake then
  remove()
end
for _, text in ipairs(written) do
  redis.call('XADD', stream_key, 'MAXLEN', '~', ARGV[13], '*', 'record', text)
end
for _, text in ipairs(written) do
  redis.call('PUBLISH', ARGV[14], text)
  redis.call('PUBLISH', ARGV[15], text)
end
while ARGV[at] do
  local last = at + ARGV[at]
  redis.call(unpack(ARGV, at + 1, last))
  at = last + 1
end
return reply('done', #written)
