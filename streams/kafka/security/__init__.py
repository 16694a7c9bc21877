"""Connection security: turns one settings block into the TLS and SASL arguments of every Kafka client.

Faust, aiokafka and kafka-python take the same options under different names; `Credentials` builds them for all three,
so that no client of the process is left out. All three support TLS (with or without a client certificate), SASL PLAIN,
SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER; Kerberos is not supported, since it needs a system library.

    [kafka]
    bootstrap = "kafka.example:9093"
    [kafka.security]
    protocol = "SASL_SSL"
    mechanism = "SCRAM-SHA-512"
    username = "sidestream"
    ca_file = "/etc/kafka/ca.pem"

and the password in the environment, `SIDESTREAM_KAFKA__SECURITY__PASSWORD`. Secrets never appear in:

* process arguments: `--set` rejects them, and a worker started as a child process gets them through its environment;
* `config show`, the log and errors: they are `SecretStr` in the settings, and a `HiddenStr` inside the clients, which
  is masked wherever a library prints its own configuration (kafka-python does, at DEBUG).

At DEBUG the client libraries print whole requests, including the SASL ones: a program that uses our clients must not
log `kafka` and `aiokafka` at DEBUG. The worker never does.

Source: KIP-12 (TLS and SASL), KIP-84 (SCRAM), KIP-255 (OAUTHBEARER); RFC 5802, RFC 7628, RFC 6749 section 4.4.
"""

from typing import TYPE_CHECKING

from sidestream.tokenizer.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from sidestream.streams.kafka.security.credentials import Credentials
    from sidestream.streams.kafka.security.login import log_in, wait_for_login
    from sidestream.streams.kafka.security.settings import SecuritySettings

__all__ = ["Credentials", "SecuritySettings", "log_in", "wait_for_login"]

__getattr__ = lazy_exports(
    __name__,
    {
        "credentials": ("Credentials",),
        "login": ("log_in", "wait_for_login"),
        "settings": ("SecuritySettings",),
    },
)
