-- Circuits and rests of a whole fleet. Processes decide by `resilience/breaker.py`; here they find
-- out who was first. A circuit is kept as "<version> <state> <record>"; its first two words are its
-- mark, and what is asked of a circuit with another mark than the one named changes nothing.
--
-- KEYS  circuits (and the channel that tells of changes), rests, what is counted of a deployment,
--       its probe, what was seen of model lists
-- ARGV  operation, deployment or rest, then as each operation says
-- Every answer begins with this second of Redis' clock, in milliseconds.
local DAY, WINDOW, HALF_LIFE = 86400, 10, 600

local op, name = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local second = tonumber(time[1])
local now = second * 1000 + math.floor(tonumber(time[2]) / 1000)

if op == 'read' then
  redis.call('EXPIRE', KEYS[1], DAY)
  return {now, redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[5])}
end

if op == 'rest' then
  local ends = tonumber(redis.call('HGET', KEYS[2], name)) or 0
  if tonumber(ARGV[3]) > ends then
    redis.call('HSET', KEYS[2], name, ARGV[3])
    redis.call('EXPIRE', KEYS[2], DAY)
    redis.call('PUBLISH', KEYS[1], name)
  end
  return {now}
end

-- looked <record>: at the model list of the provider that is named
if op == 'looked' then
  redis.call('HSET', KEYS[5], name, ARGV[3])
  redis.call('EXPIRE', KEYS[5], DAY)
  return {now}
end

-- turn <process> <milliseconds>: to look at a model list
if op == 'turn' then
  if redis.call('SET', KEYS[4], ARGV[3], 'NX', 'PX', ARGV[4]) then return {now, 1} end
  return {now, 0}
end

-- free <process>: the probe has ended
if op == 'free' then
  if redis.call('GET', KEYS[4]) == ARGV[3] then redis.call('DEL', KEYS[4]) end
  return {now}
end

local stored = redis.call('HGET', KEYS[1], name) or '0 closed '
local version, state = string.match(stored, '^(%d+) ([%a_]+) ')
if ARGV[3] ~= version .. ' ' .. state then return {now, 0, stored} end

-- change <mark> <state> <record>
if op == 'change' then
  redis.call('HSET', KEYS[1], name, (version + 1) .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
  local past = redis.call('HMGET', KEYS[3], 'at', 'calls', 'failures')
  redis.call('DEL', KEYS[3])
  if past[1] then
    redis.call('HSET', KEYS[3], 'at', past[1], 'calls', past[2], 'failures', past[3])
    redis.call('EXPIRE', KEYS[3], DAY)
  end
  redis.call('PUBLISH', KEYS[1], name)
  return {now, 1, stored}
end

-- claim <mark> <process> <milliseconds>: the one probe of the fleet
if op == 'claim' then
  if redis.call('SET', KEYS[4], ARGV[4], 'NX', 'PX', ARGV[5]) then return {now, 1, stored} end
  return {now, 0, stored}
end

-- count <mark> <calls> <failures> <failures at the end> <whether none succeeded>
local calls, failures = tonumber(ARGV[4]), tonumber(ARGV[5])
local row = tonumber(ARGV[6])
if ARGV[7] == '1' then row = row + (tonumber(redis.call('HGET', KEYS[3], 'row')) or 0) end
redis.call('HSET', KEYS[3], 'row', row)
redis.call('HINCRBY', KEYS[3], 'c' .. second, calls)
redis.call('HINCRBY', KEYS[3], 'f' .. second, failures)
local past = redis.call('HMGET', KEYS[3], 'at', 'calls', 'failures')
local kept = 0.5 ^ ((now - (tonumber(past[1]) or now)) / 1000 / HALF_LIFE)
local past_calls = (tonumber(past[2]) or 0) * kept + calls
local past_failures = (tonumber(past[3]) or 0) * kept + failures
redis.call('HSET', KEYS[3], 'at', now, 'calls', past_calls, 'failures', past_failures)
redis.call('EXPIRE', KEYS[3], DAY)
local seen = {c = 0, f = 0}
local all = redis.call('HGETALL', KEYS[3])
for i = 1, #all, 2 do
  local kind, at = string.match(all[i], '^([cf])(%d+)$')
  if kind and tonumber(at) <= second - WINDOW then
    redis.call('HDEL', KEYS[3], all[i])
  elseif kind then
    seen[kind] = seen[kind] + tonumber(all[i + 1])
  end
end
return {now, 1, stored, row, seen.c, seen.f, tostring(past_calls), tostring(past_failures)}
