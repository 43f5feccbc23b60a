-- Sends 16 requests at once; wrk counts each answer.
local batch

init = function()
    local request = wrk.format()
    batch = request:rep(16)
end

request = function()
    return batch
end
