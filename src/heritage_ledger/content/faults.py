"""What can go wrong on the way to another server: whether it passes, or is final (`specs/federation.md`).

Both clients ask here, the one to other institutions and the one to engines: what passes ends with 6, "try
again", and what stays as it is until somebody mends it does not. Whom TLS believes is decided here too.
"""

from __future__ import annotations

import re
import ssl
from enum import Enum
from typing import Final

import urllib3

from heritage_ledger.errors import OperationFailed, UsageError

PASSING_STATUSES: Final = frozenset({408, 425, 429, 502, 503, 504})
"""HTTP statuses that say "not now" (RFC 9110 §15.5.9, §15.6.3 to 5; RFC 8470; RFC 6585 §4)."""
PROXY_LOGIN: Final = 407
"""The status by which a proxy asks who is there."""
_PROXY_SAYS: Final = re.compile(r"Tunnel connection failed: (40[1357]) ")
"""How `http.client` tells that a proxy refuses to connect."""
_NO_TLS: Final = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "UNSUPPORTED_PROTOCOL",
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "NO_PROTOCOLS_AVAILABLE",
        "NO_CIPHERS_AVAILABLE",
        "VERSION_TOO_LOW",
        "UNKNOWN_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
    }
)
"""Reasons of OpenSSL for two sides that have no TLS in common; the rest may be a line that was cut."""

_LATE: Final = (TimeoutError, urllib3.exceptions.TimeoutError)


class Fault(Enum):
    """What a connection failed of."""

    LATE = "no answer in time"
    AWAY = "nobody there, or cut off"
    UNTRUSTED = "a certificate that is not trusted"
    NO_TLS = "no TLS in common"
    PROXY = "a proxy that refuses"

    @property
    def passes(self) -> bool:
        """Say whether the same may go well later, with nothing changed here."""
        return self in {Fault.LATE, Fault.AWAY}


def causes(error: BaseException) -> list[BaseException]:
    """The errors that a library wrapped into each other, the innermost last."""
    found = [error]
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if not isinstance(inner, BaseException) or inner in found:
            return found
        error = inner
        found.append(error)


def fault_of(error: BaseException) -> Fault:
    """Say what an error of a connection means; what nobody knows passes."""
    for one in causes(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return Fault.UNTRUSTED
        if isinstance(one, ssl.SSLError) and getattr(one, "reason", None) in _NO_TLS:
            return Fault.NO_TLS
        if isinstance(one, OSError) and _PROXY_SAYS.search(str(one)):
            return Fault.PROXY
        if isinstance(one, _LATE) and not isinstance(one, urllib3.exceptions.NewConnectionError):
            return Fault.LATE
    return Fault.AWAY


def check_final(error: BaseException, where: str) -> None:
    """Raise the error of ours for a fault that stays as it is; return where it may pass.

    Raises:
        OperationFailed: `tls-untrusted`, `tls-refused`, `proxy-refused`.
    """
    fault, said = fault_of(error), _said(causes(error)[-1])
    if fault is Fault.UNTRUSTED:
        raise OperationFailed(
            "tls-untrusted",
            "the certificate of the other side is not one that is trusted here",
            path=where,
            expected="one for this name, by an authority of the system, of SSL_CERT_FILE or of ca_file",
            found=said,
            advice="name the authority of your house as ca_file under [node] (peers) or [content] (engines) "
            "in heritage.toml; if the certificate has run out, ask whoever runs the server",
        ) from error
    if fault is Fault.NO_TLS:
        raise OperationFailed(
            "tls-refused",
            "the other side speaks no TLS that is spoken here",
            path=where,
            expected="TLS 1.2 or 1.3",
            found=said,
            advice="check whether the address is one for https, and its port",
        ) from error

    if fault is Fault.PROXY:
        raise proxy_refused(where, said) from error


def proxy_refused(where: str, found: str) -> OperationFailed:
    """The error for a proxy that lets nobody through who does not say who it is, or not to there."""
    return OperationFailed(
        "proxy-refused",
        "the proxy of this house does not let the request through",
        path=where,
        found=found,
        advice="set proxy_login under [node] in heritage.toml to a name and password that it knows, "
        "and ask who runs it whether this address may be asked",
    )


def _said(error: BaseException) -> str:
    message = getattr(error, "verify_message", None) or getattr(error, "reason", None) or str(error)
    return str(message)[:200] or type(error).__name__


def trust(ca_file: str | None) -> ssl.SSLContext:
    """Whom TLS believes: the system's store, or what SSL_CERT_FILE and SSL_CERT_DIR name; and `ca_file`.

    Raises:
        UsageError: `ca_file` cannot be read, or holds no certificates (`tls-ca-file`).
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=ca_file)
        except (OSError, ValueError) as error:
            raise UsageError(
                "tls-ca-file",
                "the certificates that ca_file names cannot be read",
                path=ca_file,
                expected="a file with certificates in PEM",
                found=_said(error),
                advice="mend ca_file in heritage.toml",
            ) from error
    return context
