"""The service: serve."""

import os
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from avgan.cli.app import app, extra, say
from avgan.cli.options import Bundle
from avgan.errors import AvganError


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8000,
    token: Annotated[str | None, Parameter(env_var="AVGAN_TOKEN", show_env_var=True)] = None,
    max_mb: Annotated[float, Parameter(validator=Number(gt=0))] = 100,
    max_seconds: Annotated[float, Parameter(validator=Number(gt=0))] = 3600,
    workers: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    model: Bundle = None,
) -> None:
    """Answer over HTTP, with a page: drop a recording, or listen live.

    Args:
        host: Address to listen on. Another than this machine's own asks clients for an access token.
        port: Port to listen on; 0 takes any that is free.
        token: The access token; where one is needed and none is given, one is made and shown.
        max_mb: The largest file that is taken, in MB.
        max_seconds: The longest recording that is taken, in seconds.
        workers: How many recordings are classified at a time; as many as there are cores.
    """
    if os.name != "posix":
        raise AvganError("the service needs Linux or macOS; on Windows, run it in WSL or a container")
    with extra("serve"):
        from avgan.web.serving import address, choose_token, listen, local_hosts
        from avgan.web.serving import serve as run
        from avgan.web.settings import Settings
    from avgan.runtime import load
    from avgan.runtime.network import num_cores

    known = choose_token(host, token)
    made = known if token is None else None
    settings = Settings(
        max_bytes=round(max_mb * 2**20),
        max_seconds=max_seconds,
        num_workers=workers or num_cores(),
        token=known,
        hosts=local_hosts(host),
    )
    loaded = load(model, num_threads=1)
    with listen(host, port) as listener:

        def announce() -> None:
            print(address(listener, host, made), flush=True)
            if made:
                say("what stands after token= is the access token, for this run only")

        run(loaded, settings, listener, announce)
