-- recent: reads one page of the stream of outcomes, the newest entry first, and selects the entries
-- of one account. A script only so that the executors run this read like all others, and so that
-- other accounts' entries are not transferred; one page is atomic, several pages are not.
-- KEYS[1] outcomes stream. ARGV[1] start of the page, '+' or '(' and the last id of the page before;
-- ARGV[2] maximum number of entries; ARGV[3] a text that the requested records contain, or '';
-- ARGV[4]: 1 where a replica must not answer: after a switchover it may hold outdated records.
-- Returns {entries searched, last id or '', {{entry id, record JSON}, ...}}; if fewer were searched
-- than the maximum, the stream ends here. An entry of another program has the record ''. An error
-- READONLY: this is a replica.
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
