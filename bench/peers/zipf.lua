-- A million keys, each drawn with a chance of one over its rank (Zipf, exponent 1).
local l = math.log(1000000)
init = function() math.randomseed(os.time()) end
request = function()
  local k = math.floor(math.exp(math.random() * l))
  return "GET /cached/o/" .. (k % 1000000) .. " HTTP/1.1\r\nHost: t\r\n\r\n"
end
