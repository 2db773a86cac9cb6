"""When sessions end, and how long an address waits after wrong passwords."""

from rkface.runtime.web.session import (
    AGE_LIMIT,
    FREE_ATTEMPTS,
    IDLE_LIMIT,
    MAX_CLIENTS,
    MAX_SESSIONS,
    MAX_WAIT,
    Sessions,
    SignInAttempts,
)


def test_the_wait_doubles_up_to_fifteen_minutes_and_ends():
    now = [1000.0]
    attempts, waits = SignInAttempts(lambda: now[0]), []
    for _ in range(FREE_ATTEMPTS + 14):
        assert attempts.begin("2001:db8::1") == 0
        waits.append(attempts.begin("2001:db8::ffff"))  # the same /64 network counts as the same client
        now[0] += waits[-1]
    # The first attempts have no wait, so each call of begin() counts as one more wrong password.
    waited = [wait for wait in waits if wait]
    assert waited[:4] == [1, 2, 4, 8] and waited[-1] == MAX_WAIT
    now[0] += 2 * MAX_WAIT + 1
    assert attempts.begin("2001:db8::1") == 0 and attempts.begin("2001:db8::1") == 0
    for number in range(10_000):
        attempts.begin(f"10.{number // 256}.{number % 256}.1")
    assert len(attempts._wrong) <= MAX_CLIENTS


def test_sessions_end_without_use_and_at_a_maximum_age_and_their_number_is_limited():
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    unused, used = sessions.start(), sessions.start()
    now[0] = IDLE_LIMIT - 1
    assert sessions.find(used)
    now[0] = IDLE_LIMIT + 1
    assert sessions.find(unused) is None and sessions.find(used)
    while now[0] < AGE_LIMIT:
        assert sessions.find(used)
        now[0] += IDLE_LIMIT / 2
    now[0] = AGE_LIMIT + 1
    assert sessions.find(used) is None
    first = sessions.start()
    for _ in range(MAX_SESSIONS):
        sessions.start()
    assert sessions.find(first) is None
    assert first not in str(vars(sessions))  # only hashes are stored
