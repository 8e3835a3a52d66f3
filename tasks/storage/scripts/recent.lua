-- recent: one page of the stream of outcomes, newest first, and of it the entries of one account.
-- A script only so that it goes through the same door as everything else, and so that what is not
-- asked for stays here; a page is of one instant, the pages are not.
-- KEYS[1] outcomes stream. ARGV[1] where the page begins, '+' or '(' and the last page's last
-- id; ARGV[2] how many entries at most; ARGV[3] a text that the records asked for hold, or '';
-- ARGV[4]: 1 where a replica must not answer: after a switchover it may hold records of long ago.
-- Returns {looked at, last id or '', {{entry id, record JSON}, ...}}; fewer looked at than asked
-- for: the stream ends here. An entry that is none of ours has the record ''. An error READONLY:
-- this is a replica.
local stream = KEYS[1]
local start, most, held, needs_master = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'

if needs_master then
  local role = redis.pcall('INFO', 'replication')
  if type(role) == 'string' and string.find(role, 'role:slave', 1, true) then
    return redis.error_reply('READONLY This is a replica')
  end
end

local entries = redis.call('XREVRANGE', stream, start, '-', 'COUNT', most)
local found, last = {}, ''
for _, entry in ipairs(entries) do
  last = entry[1]
  local text = entry[2][1] == 'record' and entry[2][2] or ''
  if held == '' or string.find(text, held, 1, true) then
    found[#found + 1] = {entry[1], text}
  end
end
return {#entries, last, found}
