-- ARGV: fingerprint, lease id, lease, retention (or `unresolved`), whether to take over (0 or 1),
-- operation, ttl.
local now = clock()
local held, refusal = read()
if refusal then return refusal end
local known = held and not is_gone(held, now)
local token, attempt, deadline, first
if held and held.state == 'freed' and now < held.deadline and held.lease == ARGV[2] then
  return answer('lost')
end
if known then
  if held.fingerprint ~= ARGV[1] then return answer('mismatch') end
  if held.state == 'completed' then return record(held, now) end
  local again = held.lease == ARGV[2]
  if is_held(held) and again then
    -- Asked again after a lost answer: the caller counts from its last call.
    token, attempt = held.token, held.attempt
    deadline = math.max(held.deadline, now + ARGV[3])
  elseif held.state == 'released' and again then
    return answer('lost')
  elseif is_held(held) and now < held.deadline then
    return answer('in_flight', text(held.deadline - now))
  elseif is_held(held) and ARGV[5] ~= '1' then
    return answer('abandoned', text(held.attempt))
  else
    token, attempt = math.max(held.token + 1, now), math.min(held.attempt + 1, 4294967295)
    deadline = now + ARGV[3]
  end
  first = held.first_token
  go_on_when_full()
else
  token, attempt, deadline = now, 1, now + ARGV[3]
  if held then
    token = math.max(held.token + 1, now)
    redis.call('DEL', key)
  end
  first = token
end
if token > LAST then return corrupt('no token is left') end

redis.call('HSET', key, 'state', 'leased', 'fingerprint', ARGV[1], 'attempt', text(attempt),
  'token', text(token), 'first_token', text(first), 'lease', ARGV[2], 'until', text(deadline),
  'retention', ARGV[4], 'operation', ARGV[6], 'ttl', ARGV[7])
expire_after(ARGV[4] == 'unresolved' and LAST or deadline + ARGV[4])

local granted = answer('granted', text(token), text(attempt), text(first))
if known then
  local fields = redis.call('HGETALL', key)
  for at = 1, #fields, 2 do
    if string.sub(fields[at], 1, 5) == 'step:' then
      granted[#granted + 1] = string.sub(fields[at], 6)
      granted[#granted + 1] = fields[at + 1]
    end
  end
end
return granted
