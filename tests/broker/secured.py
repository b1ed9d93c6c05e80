"""A real broker as a security team sets it up: TLS, SASL, an authorizer that allows nothing unless told to.

In: a directory. Out: the address for clients, the certificate authority's file, and users with ACLs. The broker's own
listener is open and its user a super user: tests use it to make users and to look.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import tokens
from topics.cluster.acls import Acl, Kind
from topics.embedded import broker

PASSWORD = tokens.SECRET
PLAIN_USER = "plain"
SCRAM_ROUNDS = 4096
ANSWER_S = 30
DAY = dt.timedelta(days=1)

_RESOURCES = {
    Kind.TOPIC: ResourceType.TOPIC,
    Kind.GROUP: ResourceType.GROUP,
    Kind.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A secured broker: `bootstrap` is for clients, `open_bootstrap` and `admin` for the super user."""

    bootstrap: str
    open_bootstrap: str
    ca_file: Path
    password_file: Path
    admin: AdminClient

    def add_user(self, name: str) -> None:
        """A user with SCRAM credentials, who may do nothing."""
        credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ROUNDS)
        change = UserScramCredentialUpsertion(name, credentials, PASSWORD.encode())
        for answer in self.admin.alter_user_scram_credentials([change]).values():
            answer.result(ANSWER_S)

    def allow(self, user: str, acls: Iterable[Acl]) -> None:
        """These ACLs are the user's, and no others."""
        admin = self.admin
        of_user = AclBindingFilter(
            ResourceType.ANY,
            None,  # type: ignore[arg-type]  # any name, as its documentation says
            ResourcePatternType.ANY,
            f"User:{user}",
            None,  # type: ignore[arg-type]  # any host, as above
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        for answer in admin.delete_acls([of_user]).values():
            answer.result(ANSWER_S)
        bindings = [_binding(user, acl, operation) for acl in acls for operation in acl.operations]
        for made in admin.create_acls(bindings).values() if bindings else ():
            made.result(ANSWER_S)

    def options(self, user: str, mechanism: str = "SCRAM-SHA-512") -> list[str]:
        """The options of a command for a user."""
        return [
            *("--bootstrap", self.bootstrap, "--security-protocol", "SASL_SSL", "--sasl-mechanism", mechanism),
            *("--sasl-username", user, "--sasl-password-file", str(self.password_file)),
            *("--ssl-ca-file", str(self.ca_file)),
        ]


@contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    """A secured broker as long as the context lasts."""
    ca_file, key_file = _certificates(directory)
    password_file = directory / "password"
    password_file.write_text(f"{PASSWORD}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with broker.running(directory / "broker", _properties(port, key_file)) as started:
        admin = AdminClient({"bootstrap.servers": started.bootstrap})
        yield Cluster(f"127.0.0.1:{port}", started.bootstrap, ca_file, password_file, admin)


def _properties(port: int, key_file: Path) -> dict[str, str]:
    modules = "org.apache.kafka.common.security"
    clients = "listener.name.clients"
    return {
        "listeners": f"BROKER://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller_port}},CLIENTS://127.0.0.1:{port}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:SASL_SSL",
        f"{clients}.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN,OAUTHBEARER",
        f"{clients}.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
        f"{clients}.plain.sasl.jaas.config": (
            f'{modules}.plain.PlainLoginModule required user_{PLAIN_USER}="{PASSWORD}";'
        ),
        f"{clients}.oauthbearer.sasl.jaas.config": (
            f'{modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
        ),
        f"{clients}.ssl.keystore.type": "PEM",
        f"{clients}.ssl.keystore.location": str(key_file),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }


def _certificates(directory: Path) -> tuple[Path, Path]:
    """A certificate authority's file, and a file with a broker's key and certificate that it signed."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test broker")])
    now = dt.datetime.now(dt.UTC)

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )

    ca = (
        builder(ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = builder(name, key.public_key()).add_extension(address, critical=False).sign(ca_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    ca_file, key_file = directory / "ca.pem", directory / "broker.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    key_file.write_bytes(private + certificate.public_bytes(pem))
    return ca_file, key_file


def _binding(user: str, acl: Acl, operation: AclOperation) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if acl.is_prefix else ResourcePatternType.LITERAL
    return AclBinding(_RESOURCES[acl.kind], acl.name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
