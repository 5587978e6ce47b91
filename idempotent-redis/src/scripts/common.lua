-- What every step begins with. One hash holds all that is known of a storage key:
--
--   state        leased, abandoned (given up by its owner), released, freed, completed, forgotten
--   fingerprint  64 hex digits: whose request it is
--   attempt      which execution it is
--   token        fencing token
--   first_token  that of attempt 1: the same in all attempts of one life of the key
--   operation    its name, for people
--   ttl          microseconds that its record would be replayable
--   lease        32 hex digits: who holds the lease, or the last to release or free it
--   until        microseconds since 1970: end of the lease; of what is remembered in the other states
--   retention    microseconds that the key is remembered after its lease, or `unresolved`
--   metadata     JSON: status and headers of the answer
--   body         its bytes
--   step:<name>  the result of a step
--
-- Numbers are doubles here, exact up to 2^53: microseconds reach that in the year 2255.
local key = KEYS[1]
local LAST = 9007199254740991
local STATES = {leased = true, abandoned = true, released = true, freed = true, completed = true, forgotten = true}

-- The server's clock in microseconds. No caller's clock is ever asked.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function text(number)
  return string.format('%.0f', number)
end

local function number(field)
  if not field or #field > 16 or not string.find(field, '^%d+$') then return nil end
  local value = tonumber(field)
  if value > LAST then return nil end
  return value
end

local function is_hex(field, length)
  return field and #field == length and not string.find(field, '[^0-9a-f]')
end

-- Every answer begins with what its caller sent last, so that nobody takes another's for their own.
local function answer(...)
  return {ARGV[#ARGV], ...}
end

local function corrupt(what)
  return answer('corrupt', what)
end

-- What is known of the key, or nil and an answer that says what cannot be read. Never a guess: half a
-- record must not pass for none.
local function read()
  local field = redis.pcall('HMGET', key, 'state', 'fingerprint', 'attempt', 'token', 'lease', 'until',
    'retention', 'metadata', 'body', 'first_token', 'operation', 'ttl')
  if field.err then
    if string.find(field.err, '^WRONGTYPE') then return nil, corrupt('not a hash') end
    return nil, field
  end
  local state = field[1]
  if not state then
    if redis.call('EXISTS', key) == 0 then return nil end
    return nil, corrupt('no state')
  end
  if not STATES[state] then return nil, corrupt('an unknown state') end
  local held = {
    state = state,
    fingerprint = field[2],
    attempt = number(field[3]),
    token = number(field[4]),
    lease = field[5],
    deadline = number(field[6]),
    metadata = field[8],
    body = field[9],
    first_token = number(field[10]),
    operation = field[11],
    ttl = number(field[12]),
  }
  if not held.token then return nil, corrupt('no token') end
  if not held.deadline then return nil, corrupt('no until') end
  if state == 'forgotten' then return held end
  if state == 'freed' then
    if not is_hex(held.lease, 32) then return nil, corrupt('no lease') end
    return held
  end
  if not held.attempt then return nil, corrupt('no attempt') end
  if not is_hex(held.fingerprint, 64) then return nil, corrupt('no fingerprint') end
  if not held.operation then return nil, corrupt('no operation') end
  if not held.ttl then return nil, corrupt('no ttl') end
  if state == 'completed' then
    if not held.metadata then return nil, corrupt('no metadata') end
    if not held.body then return nil, corrupt('no body') end
    return held
  end
  if not is_hex(held.lease, 32) then return nil, corrupt('no lease') end
  if not held.first_token then return nil, corrupt('no first_token') end
  if state == 'released' then return held end
  if field[7] == 'unresolved' then
    held.forgotten_at = LAST
  else
    local retention = number(field[7])
    if not retention then return nil, corrupt('no retention') end
    held.retention = retention
    held.forgotten_at = held.deadline + retention
  end
  return held
end

-- Whether it is over with what is known: as if the key were absent, but for its token, and the lease id
-- of a freed one.
local function is_gone(held, now)
  if held.state == 'forgotten' or held.state == 'freed' then return true end
  return now >= (held.forgotten_at or held.deadline)
end

local function is_held(held)
  return held.state == 'leased' or held.state == 'abandoned'
end

-- What is known where the caller holds the lease: by id and token (ARGV 1 and 2). Otherwise nil and
-- the answer.
local function owned(now)
  local held, refusal = read()
  if refusal then return nil, refusal end
  if not held or is_gone(held, now) or not is_held(held)
    or held.lease ~= ARGV[1] or text(held.token) ~= ARGV[2] then
    return nil, answer('lost')
  end
  return held
end

-- A full server refuses what needs memory until a script has written something: keys that are known
-- go on, so that a lease can always record its outcome.
local function go_on_when_full()
  redis.call('HDEL', key, '')
end

-- Redis removes the key some time after it is over with it: what decides is `until`.
local function expire_after(deadline)
  if deadline >= LAST then
    redis.call('PERSIST', key)
  else
    redis.call('PEXPIREAT', key, text(math.floor(deadline / 1000) + 1))
  end
end

-- A record as an answer.
local function record(held, now)
  return answer('completed', held.fingerprint, text(held.deadline - now), held.metadata, held.body)
end
