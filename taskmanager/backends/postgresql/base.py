"""Django's PostgreSQL backend, which starts the embedded server before it first connects."""

import select
from collections.abc import Iterable
from typing import Any

from django.db.backends.postgresql import base, client
from django.db.utils import OperationalError
from psycopg.pq import TransactionStatus

from taskmanager.postgres import Address, EmbeddedPostgresError, cluster_of, program


def _ensure(database: dict[str, Any]) -> Address | None:
    """Start the server of a DATABASES entry; None when the entry names an outside server.

    Raises Django's OperationalError, which callers expect of a database that is not there.
    """
    try:
        cluster = cluster_of(database)
        return cluster.ensure() if cluster else None
    except EmbeddedPostgresError as error:
        raise OperationalError(str(error)) from error


class DatabaseClient(client.DatabaseClient):
    """`manage.py dbshell`, with the psql that comes with the server."""

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        """Django's command line; an embedded server is started, and its own psql comes first."""
        address = _ensure(settings_dict)
        if address is None:
            return super().settings_to_cmd_args_env(settings_dict, parameters)
        embedded = {**settings_dict, "HOST": address.host}
        (_, *args), env = super().settings_to_cmd_args_env(embedded, parameters)
        return [str(program("psql")), *args], env


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection; settings and `check` make one of these without starting anything."""

    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        """Django's parameters, once the server answers at the address in them."""
        params = super().get_connection_params()
        if address := _ensure(self.settings_dict):
            params["host"] = address.host
        return params

    def is_usable(self) -> bool:
        """Whether the connection still works, which Django wants to know before each request.

        A server that hangs up is heard on the socket. While that is silent between transactions
        nobody is asked: the question would be a seventh of all statements of a request.
        """
        if self.connection is None or self.connection.closed:
            return False
        socket = select.poll()
        socket.register(self.connection, select.POLLIN)
        idle = self.connection.info.transaction_status == TransactionStatus.IDLE
        return (idle and not socket.poll(0)) or bool(super().is_usable())
