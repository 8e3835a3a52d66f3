-- recent: one page of the stream of outcomes, newest first. A script only so that it goes
-- through the same door as everything else; a page is of one instant, the pages are not.
-- KEYS[1] outcomes stream. ARGV[1] where the page begins, '+' or '(' and the last page's last
-- id; ARGV[2] how many entries at most.
-- Returns {{entry id, record JSON}, ...}; fewer than asked for: the stream ends here.
local stream = KEYS[1]
local start, most = ARGV[1], ARGV[2]

local found = {}
for _, entry in ipairs(redis.call('XREVRANGE', stream, start, '-', 'COUNT', most)) do
  found[#found + 1] = {entry[1], entry[2][2]}
end
return found
