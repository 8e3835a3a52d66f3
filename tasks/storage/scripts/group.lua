-- group: finishes what a reader of a consumer group has done and gives it what it reads next:
-- what it was given and has not finished, then what another reader was given and left lying,
-- then what nobody was given yet. Safe to repeat: what a lost reply gave this reader, it is
-- given again. Atomic because a second reader must not take between the looks what the first
-- one is about to get. A reader that comes for the first time has the readers forgotten that
-- are long gone: each process is a new one, and their list would grow for ever.
-- KEYS[1] outcomes stream. ARGV[1] group, made if there is none: it begins with the oldest
-- entry; ARGV[2] reader, ARGV[3] how many entries at most, ARGV[4] ms after which what a reader
-- holds counts as left lying, ARGV[5] entry that is finished, or '', ARGV[6] ms of silence after
-- which a reader that holds nothing is forgotten; ARGV[7] a text that the records asked for hold,
-- or '': what does not hold it is finished unseen, so much of it at a time.
-- Returns {{entry id, record JSON}, ...}; entries cut off from the stream are finished here, and
-- one that is none of ours has the record ''. The record '-': nothing was found yet, ask again.
local stream = KEYS[1]
local group, reader, most, left_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local done, gone_ms, held = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local SKIPS = 200 -- Entries finished unseen by one command: half a millisecond (measured).
local LOOKS = 100 -- At entries of others, ten a look; the rest has its turn when these are done.

redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM') -- An error: it is there.
if redis.pcall('XGROUP', 'CREATECONSUMER', stream, group, reader) == 1 then
  for _, flat in ipairs(redis.pcall('XINFO', 'CONSUMERS', stream, group)) do
    local other = {}
    for i = 1, #flat, 2 do
      other[flat[i]] = flat[i + 1]
    end
    if other.pending == 0 and other.idle and other.idle > gone_ms then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, other.name)
    end
  end
end
if done ~= '' then
  redis.call('XACK', stream, group, done)
end
local found, seen, skipped = {}, {}, nil
local function add(entries)
  local fresh = 0
  for _, entry in ipairs(entries) do
    local id, fields = entry and entry[1], entry and entry[2]
    if fields and not seen[id] then
      seen[id] = true
      local text = fields[1] == 'record' and fields[2] or ''
      if held == '' or string.find(text, held, 1, true) then
        found[#found + 1] = {id, text}
      else
        redis.call('XACK', stream, group, id)
        skipped = id
        fresh = fresh + 1
      end
    elseif id and not fields then
      redis.call('XACK', stream, group, id)
      fresh = fresh + 1
    end
  end
  return fresh
end
local function read(from)
  if #found >= most then
    return 0
  end
  local reply = redis.call(
    'XREADGROUP', 'GROUP', group, reader, 'COUNT', most - #found, 'STREAMS', stream, from)
  -- A simulated Redis leaves a level out.
  return add(reply and (type(reply[1]) == 'table' and reply[1][2] or reply[2]) or {})
end
while read('0') > 0 do -- Some were cut off: they have made room.
end
local cursor = '0-0'
for _ = 1, LOOKS do
  if #found >= most then
    break
  end
  local reply = redis.call(
    'XAUTOCLAIM', stream, group, reader, left_ms, cursor, 'COUNT', most - #found)
  cursor = reply[1]
  add(reply[2])
  if cursor == '0-0' then
    break
  end
end
for _ = 1, SKIPS do
  if read('>') == 0 then
    break
  end
end
if #found == 0 and skipped then
  found[1] = {skipped, '-'}
end
return found
