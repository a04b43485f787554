-- Requests and tokens a minute and concurrency of one request: all of its limits fit, or nothing is
-- booked. `tenants/limits/local.py` is the same algorithm and answers with the same numbers.
--
-- A window is a hash: field = second, value = units booked in it, with `sum`, `oldest` and `newest`
-- so that most calls need not read it whole. This second and the 60 before it count, so no span of
-- 60 s ever exceeds the limit. Slots are a sorted set of request ids by the end of their lease.
--
-- KEYS  the limits; ARGV[2] has a letter for each: r(equests), t(okens), c(oncurrency)
-- ARGV  operation, letters, milliseconds ('' is Redis' own clock), then as each operation says
local KEEP, LEASE, SLOT_WAIT, NEVER = 60, 30000, 1000, -1

local op, letters, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local second = math.floor(now / 1000)

-- Drop what has left the window and count the rest again. What lies more than a window ahead was
-- booked before the clock was set back.
local function recount(key)
  local window = {sum = 0}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local at = tonumber(all[i])
    if at and (at < second - KEEP or at > second + KEEP) then
      redis.call('HDEL', key, all[i])
    elseif at then
      window.sum = window.sum + tonumber(all[i + 1])
      window.oldest = math.min(window.oldest or at, at)
      window.newest = math.max(window.newest or at, at)
      if at == second then window.here = tonumber(all[i + 1]) end
    end
  end
  if window.oldest then
    redis.call('HSET', key, 'sum', window.sum, 'oldest', window.oldest, 'newest', window.newest)
  else
    redis.call('DEL', key)
  end
  return window
end

local function window_of(key)
  local head = redis.call('HMGET', key, 'sum', 'oldest', 'newest', second)
  local window = {
    sum = tonumber(head[1]) or 0, oldest = tonumber(head[2]), newest = tonumber(head[3]),
    here = tonumber(head[4]),
  }
  if window.oldest and (window.oldest < second - KEEP or window.newest > second + KEEP) then
    return recount(key)
  end
  return window
end

local function book(key, window, units)
  if units == 0 then return end
  local is_new = not window.here
  window.sum = window.sum + units
  window.here = (window.here or 0) + units
  window.oldest = window.oldest or second
  window.newest = second
  redis.call('HSET', key, second, window.here,
    'sum', window.sum, 'oldest', window.oldest, 'newest', second)
  if is_new then redis.call('PEXPIRE', key, (KEEP + 2) * 1000) end
end

local function give_back(key, at, units)
  local head = redis.call('HMGET', key, at, 'sum')
  if head[1] then
    redis.call('HSET', key, at, tonumber(head[1]) - units, 'sum', tonumber(head[2]) - units)
  end
end

-- Milliseconds until `units` have left the window.
local function wait_for(key, units)
  local all, seconds, booked = redis.call('HGETALL', key), {}, {}
  for i = 1, #all, 2 do
    local at = tonumber(all[i])
    if at then
      seconds[#seconds + 1] = at
      booked[at] = tonumber(all[i + 1])
    end
  end
  table.sort(seconds)
  for _, at in ipairs(seconds) do
    units = units - booked[at]
    if units <= 0 then return (at + KEEP + 1) * 1000 - now end
  end
  return (KEEP + 1) * 1000
end

local function lease(key, id)
  redis.call('ZADD', key, now + LEASE, id)
  redis.call('PEXPIRE', key, LEASE + 2000)
end

local function slots_of(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  return {sum = redis.call('ZCARD', key)}
end

local function look()
  local seen = {}
  for i, key in ipairs(KEYS) do
    seen[i] = letters:sub(i, i) == 'c' and slots_of(key) or window_of(key)
  end
  return seen
end

-- What is used of each key, and the milliseconds until all of it is free again.
local function answer(place, wait, seen)
  local numbers = {place, wait, second}
  for _, window in ipairs(seen) do
    numbers[#numbers + 1] = window.sum
    local newest = window.sum > 0 and window.newest
    numbers[#numbers + 1] = newest and (newest + KEEP + 1) * 1000 - now or 0
  end
  return numbers
end

-- read → 0, 0, second, numbers of each key
if op == 'read' then return answer(0, 0, look()) end

-- take, request id, tokens, limit of each key
-- → place of the limit that takes longest to fit (0: all fit), that long, second, numbers
if op == 'take' then
  local id, tokens, seen, place, longest = ARGV[4], tonumber(ARGV[5]), look(), 0, 0
  for i, key in ipairs(KEYS) do
    local letter, limit, wait = letters:sub(i, i), tonumber(ARGV[5 + i]), 0
    local cost = letter == 't' and tokens or 1
    if cost > limit then return answer(i, NEVER, seen) end
    local over = seen[i].sum + cost - limit
    if over > 0 then wait = letter == 'c' and SLOT_WAIT or wait_for(key, over) end
    if wait > longest then place, longest = i, wait end
  end
  if place > 0 then return answer(place, longest, seen) end
  for i, key in ipairs(KEYS) do
    local letter = letters:sub(i, i)
    if letter == 'c' then
      lease(key, id)
      seen[i].sum = seen[i].sum + 1
    else
      book(key, seen[i], letter == 't' and tokens or 1)
    end
  end
  return answer(0, 0, seen)
end

-- give, request id, second booked in, requests to give back, tokens to give back
-- (negative: more was used than was booked)
if op == 'give' then
  local at = ARGV[5]
  local back = {r = tonumber(ARGV[6]), t = tonumber(ARGV[7])}
  for i, key in ipairs(KEYS) do
    local units = back[letters:sub(i, i)]
    if not units then
      redis.call('ZREM', key, ARGV[4])
    elseif units < 0 then
      book(key, window_of(key), -units)
    elseif units > 0 then
      give_back(key, at, units)
    end
  end
  return {}
end

-- renew, request id of each key: the request runs, whatever Redis has forgotten since
for i, key in ipairs(KEYS) do lease(key, ARGV[3 + i]) end
return {}
