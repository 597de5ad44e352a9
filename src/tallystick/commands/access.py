"""`tallystick token …` and `tallystick secret …`: who may call, and what models may know."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from tallystick.commands.config_edit import BadUsage
from tallystick.commands.durations import parse_duration
from tallystick.commands.session import Session, with_session

_HELP = {"help_option_names": ["-h", "--help"]}
token_app = typer.Typer(help="Make, list and revoke tokens.", no_args_is_help=True, context_settings=_HELP)
secret_app = typer.Typer(
    help="Keep secrets that models get as environment variables.", no_args_is_help=True, context_settings=_HELP
)
_LEVELS = ("CAN_VIEW", "CAN_QUERY", "CAN_MANAGE")


@token_app.command("create")
@with_session
def create_token(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose token: a person or program.", show_default=False)],
    can_query: Annotated[
        list[str] | None, typer.Option(metavar="ENDPOINT", help="May call this endpoint. Repeatable.")
    ] = None,
    can_view: Annotated[
        list[str] | None, typer.Option(metavar="ENDPOINT", help="May look at this endpoint. Repeatable.")
    ] = None,
    can_manage: Annotated[
        list[str] | None, typer.Option(metavar="ENDPOINT", help="May change this endpoint too. Repeatable.")
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May do everything.")] = False,
    expires: Annotated[str | None, typer.Option(metavar="DURATION", help="As in 30d. Default: never.")] = None,
    comment: Annotated[str, typer.Option(help="What it is for; shown by 'token list'.")] = "",
) -> None:
    """Make a token for NAME, and say what NAME may do. The token is shown this once.

    Rights belong to NAME, not to the token: a second token of the same name has them too. A token without rights
    can call nothing until NAME is granted something.
    """
    lifetime_s = None if expires is None else int(parse_duration(expires))
    if lifetime_s is not None and lifetime_s < 1:
        raise BadUsage("--expires is at least 1 s.")
    client = session.client
    grants = dict(zip(_LEVELS, (can_view or [], can_query or [], can_manage or []), strict=True))
    named = [endpoint for endpoints in grants.values() for endpoint in endpoints]
    if len(set(named)) != len(named):
        raise BadUsage("An endpoint is named twice; CAN_MANAGE holds CAN_QUERY, which holds CAN_VIEW.")
    # All endpoints are looked at first: a slip in the last one must not leave half of the rights behind.
    for endpoint in named:
        client.get_endpoint(endpoint)
    for level, endpoints in grants.items():
        for endpoint in endpoints:
            client.grant(endpoint, name, level)
    made = client.create_token(name, is_admin=admin, lifetime_s=lifetime_s, comment=comment)
    rights = [f"{level} on {endpoint}" for level, endpoints in grants.items() for endpoint in endpoints]
    session.result(
        {**made, "host": client.server.url, "grants": grants},
        f"export DATABRICKS_HOST={client.server.url}",
        f"export DATABRICKS_TOKEN={made['token_value']}",
    )
    if not session.as_json:
        may = "everything" if admin else ", ".join(rights) or "nothing yet; give it --can-query ENDPOINT"
        session.note(f"\nThe token is not shown again. {name} may: {may}.")
        session.note(f"Revoke it: tallystick token revoke {made['token_info']['token_id']}")


@token_app.command("list")
@with_session
def list_tokens(session: Session) -> None:
    """List the tokens that you may see: an admin all, others their own."""
    found = session.client.list_tokens()
    rows = [
        (
            info["token_id"],
            info["principal"],
            "admin" if info["is_admin"] else "",
            _when(info["creation_time"]),
            "never" if info["expiry_time"] < 0 else _when(info["expiry_time"]),
            info["comment"],
        )
        for info in found
    ]
    columns = ("id", "whose", "rights", "made", "expires", "comment")
    session.table({"token_infos": found}, columns, rows, empty="No tokens.")


@token_app.command("revoke")
@with_session
def revoke_token(
    session: Session,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Id, as 'token list' shows it.", show_default=False)],
) -> None:
    """Revoke a token; it is refused from then on."""
    if token_id.startswith("tsk_"):
        # The whole token was pasted; its id is the part in the middle.
        token_id = token_id[4:16]
    session.client.revoke_token(token_id)
    session.result({"token_id": token_id, "revoked": True}, f"Token {token_id} is revoked.")


@secret_app.command("put")
@with_session
def put_secret(
    session: Session,
    path: Annotated[str, typer.Argument(metavar="SCOPE/KEY", help="Its name.", show_default=False)],
) -> None:
    """Keep a secret. The value is asked for, or read from stdin; it is never shown again.

    A model gets it by 'tallystick deploy … --secret-env VARIABLE=SCOPE/KEY', when its workers start.
    """
    scope, key = _parts(path)
    if sys.stdin.isatty():
        value = typer.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
    else:
        # `echo` and files end in a newline that nobody means.
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not value:
        raise BadUsage("The value is empty.")
    session.client.put_secret(scope, key, value)
    session.result(
        {"scope": scope, "key": key},
        f"{path} is kept. Workers that run go on with the value they were started with.",
    )


@secret_app.command("list")
@with_session
def list_secrets(
    session: Session,
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="Only of this scope.", show_default=False)] = "",
) -> None:
    """List the names of the secrets; values are never shown."""
    client = session.client
    found = {each: client.list_secrets(each) for each in ([scope] if scope else client.list_scopes())}
    rows = [
        (f"{each}/{info['key']}", _when(info["last_updated_timestamp"]))
        for each, infos in found.items()
        for info in infos
    ]
    document = {"scopes": [{"name": each, "secrets": infos} for each, infos in found.items()]}
    session.table(document, ("secret", "changed"), rows, empty="No secrets.")


@secret_app.command("delete")
@with_session
def delete_secret(
    session: Session,
    path: Annotated[str, typer.Argument(metavar="SCOPE/KEY", help="Its name.", show_default=False)],
) -> None:
    """Forget a secret. Models that need it fail at their next start."""
    scope, key = _parts(path)
    session.client.delete_secret(scope, key)
    session.result({"scope": scope, "key": key, "deleted": True}, f"{path} is forgotten.")


def _parts(path: str) -> tuple[str, str]:
    scope, slash, key = path.partition("/")
    if not (scope and slash and key):
        raise BadUsage(f"'{path}' is not of the form SCOPE/KEY, as in prod/db-password.")
    return scope, key


def _when(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M}Z"
