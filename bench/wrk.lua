-- Sends the requests of a file in turn, and reports as one line of JSON.
-- Each request in the file is preceded by its length in eight decimal digits.

local requests = {}
local turn = 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  local digits = file:read(8)
  while digits do
    requests[#requests + 1] = file:read(tonumber(digits))
    digits = file:read(8)
  end
  file:close()
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format('\n{"answers":%d,"failures":%d,"seconds":%f}\n', summary.requests - e.status,
    e.connect + e.read + e.write + e.status + e.timeout, summary.duration / 1e6))
end
