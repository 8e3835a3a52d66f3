-- group: what a reader of a consumer group reads next: what it was given and has not finished,
-- then what another reader was given and left lying, then what nobody was given yet. Safe to
-- repeat: what a lost reply gave this reader, it is given again. Atomic because a second
-- reader must not take between the looks what the first one is about to get.
-- KEYS[1] outcomes stream. ARGV[1] group, made if there is none; ARGV[2] reader, ARGV[3] how
-- many entries at most, ARGV[4] ms after which what a reader holds counts as left lying.
-- Returns {{entry id, record JSON}, ...}; entries cut off from the stream are finished here.
local stream = KEYS[1]
local group, reader, most, left_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]

redis.pcall('XGROUP', 'CREATE', stream, group, '0', 'MKSTREAM') -- An error: it is there.
local found, seen = {}, {}
local function add(entries)
  for _, entry in ipairs(entries) do
    local id, fields = entry and entry[1], entry and entry[2]
    if fields and not seen[id] then
      seen[id] = true
      found[#found + 1] = {id, fields[2]}
    elseif id and not fields then
      redis.call('XACK', stream, group, id)
    end
  end
end
local function read(from)
  if #found < most then
    local reply = redis.call(
      'XREADGROUP', 'GROUP', group, reader, 'COUNT', most - #found, 'STREAMS', stream, from)
    -- A simulated Redis leaves a level out.
    add(reply and (type(reply[1]) == 'table' and reply[1][2] or reply[2]) or {})
  end
end
read('0')
if #found < most then
  local reply = redis.call(
    'XAUTOCLAIM', stream, group, reader, left_ms, '0', 'COUNT', most - #found)
  add(reply[2])
end
read('>')
return found
