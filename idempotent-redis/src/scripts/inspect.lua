local now = clock()
local held, refusal = read()
if refusal then return refusal end
if not held or is_gone(held, now) then return answer('absent') end
if held.state == 'completed' then return record(held, now) end
local known = answer(held.state, held.fingerprint, text(held.attempt), text(held.token), held.operation,
  text(held.ttl))
if held.state == 'leased' then
  if now < held.deadline then
    known[8] = text(held.deadline - now)
  else
    known[2] = 'abandoned'
  end
end
return known
