-- Every key of a million once, sixteen at a time: fills the cache.
local n = 0
request = function()
  local r = {}
  for i=1,16 do n = n + 1; r[i] = "GET /cached/o/" .. (n % 1000000) .. " HTTP/1.1\r\nHost: t\r\n\r\n" end
  return table.concat(r)
end
