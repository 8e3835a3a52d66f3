-- group: acknowledges the entry that a reader of a consumer group has finished and returns its next
-- entries: first those delivered to it and not acknowledged, then those that another reader has
-- abandoned, then new ones. Safe to repeat: entries of a lost reply are returned again. Atomic
-- because a second reader must not take, between the reads, an entry that this call returns. The
-- first call of a new reader also removes idle readers without pending entries: each process is a
-- new reader, and the list of readers would grow without limit.
-- KEYS[1] outcomes stream. ARGV[1] group; if it does not exist, it is made and begins with the
-- oldest entry; ARGV[2] reader, ARGV[3] maximum number of entries, ARGV[4] idle time in ms after
-- which an entry of another reader counts as abandoned, ARGV[5] entry that is finished, or '',
-- ARGV[6] idle time in ms after which a reader without pending entries is removed; ARGV[7] a text
-- that the requested records contain, or '': an entry without it is acknowledged and not returned,
-- a bounded number in each call.
-- Returns {{entry id, record JSON}, ...}; entries cut off from the stream are acknowledged here, and
-- an entry of another program has the record ''. The record '-': nothing was found yet, call again.
local stream = KEYS[1]
local group, reader, most, left_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local done, gone_ms, held = ARGV[5], tonumber(ARGV[6]), ARGV[7]
local SKIPS = 200 -- Maximum number of reads of new entries in one call; 200 take 0.5 ms (measured).
local LOOKS = 100 -- Maximum number of XAUTOCLAIM calls; each scans ten times its COUNT.

redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM') -- An error: the group exists.
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
  -- A simulated Redis leaves one level of the reply out.
  return add(reply and (type(reply[1]) == 'table' and reply[1][2] or reply[2]) or {})
end
while read('0') > 0 do -- Some entries were acknowledged and not returned: read further ones.
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
