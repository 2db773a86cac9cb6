"""When sessions end, and how long an address waits after wrong passwords."""

from rkface.runtime.web.clients import client_of
from rkface.runtime.web.password import PasswordCheck
from rkface.runtime.web.session import (
    AGE_LIMIT,
    FREE_ATTEMPTS,
    IDLE_LIMIT,
    MAX_CLIENTS,
    MAX_SESSIONS,
    MAX_WAIT,
    KnownBrowsers,
    Sessions,
    SignInAttempts,
)


def test_the_wait_doubles_up_to_fifteen_minutes_and_ends():
    now = [1000.0]
    attempts, waits = SignInAttempts(lambda: now[0]), []
    for _ in range(FREE_ATTEMPTS + 14):
        assert attempts.begin(client_of("2001:db8::1")) == 0
        waits.append(attempts.begin(client_of("2001:db8::ffff")))  # the same /64 network counts as the same client
        now[0] += waits[-1]
    # The first attempts have no wait, so each call of begin() counts as one more wrong password.
    waited = [wait for wait in waits if wait]
    assert waited[:4] == [1, 2, 4, 8] and waited[-1] == MAX_WAIT
    now[0] += 2 * MAX_WAIT + 1
    assert attempts.begin(client_of("2001:db8::1")) == 0 and attempts.begin(client_of("2001:db8::1")) == 0
    for number in range(10_000):
        attempts.begin(client_of(f"10.{number // 256}.{number % 256}.1"))
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


def test_an_attempt_that_was_never_compared_does_not_count():
    now = [1000.0]
    attempts = SignInAttempts(lambda: now[0])
    for _ in range(3 * FREE_ATTEMPTS):
        assert attempts.begin("a") == 0
        attempts.withdraw("a")
    assert attempts.wrong("a") == 0
    for number in range(FREE_ATTEMPTS):
        assert attempts.begin("a") == 0 and attempts.wrong("a") == number + 1
    attempts.withdraw("a")
    assert attempts.begin("a") == 0 and attempts.begin("a") > 0
    attempts.withdraw("nobody")


def test_a_known_browser_is_recognized_until_the_password_changes():
    browsers = KnownBrowsers(PasswordCheck("hash").browser_key)
    cookie = browsers.issue()
    name = browsers.find(cookie)
    assert name and browsers.find(browsers.issue()) not in ("", name)
    assert KnownBrowsers(PasswordCheck("hash").browser_key).find(cookie) == name, "after a restart"
    assert KnownBrowsers(PasswordCheck("new").browser_key).find(cookie) == ""
    for wrong in ("", ".", name, f"{name}.", f"x{cookie}", f"{cookie}0", "\xe9.\xe9", f"{name}.{'0' * 64}"):
        assert browsers.find(wrong) == "", wrong


def test_addresses_near_a_guesser_are_compared_later_but_not_locked_out():
    attempts = SignInAttempts(lambda: 1000.0)
    for number in range(100):
        assert attempts.begin(client_of(f"198.51.100.{number}")) == 0
    near, far = client_of("198.51.7.7"), client_of("203.0.113.7")
    assert attempts.begin(near) == 0 and attempts.begin(far) == 0
    assert attempts.suspicion(far) < attempts.suspicion(near)
    attempts.succeed(near)
    attempts.withdraw(far)
    assert attempts.suspicion(far) == attempts.suspicion("browser abc") == (0, 0)
