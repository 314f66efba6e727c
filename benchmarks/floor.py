"""The floor: the least that an agent in Python can be, for the same work.

    python benchmarks/floor.py PORT

One loop on asyncio and a raw socket: post the messages, read the stream, run the command with `bash`, keep the result
durably (in the current folder), post again. No permissions, no limits, no retries, no schemas: what Deskhand takes
beyond this is what they cost.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

SYSTEM = "You are a coding agent."
TOOLS = [{"name": "bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}]


async def run(port: int) -> None:
    """Run one turn against the endpoint at `port`."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "go"}]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    journal = os.open("floor.jsonl", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    while (block := await post(reader, writer, messages))["type"] == "tool_use":
        messages.append({"role": "assistant", "content": [block]})
        result = {"type": "tool_result", "tool_use_id": block["id"], "content": await run_bash(block["input"])}
        messages.append({"role": "user", "content": [result]})
        os.write(journal, json.dumps(messages[-2:]).encode() + b"\n")
        os.fsync(journal)
    writer.close()


async def post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, messages: list[dict[str, Any]]
) -> dict[str, Any]:
    """Send the messages, and return the one block of the streamed answer; print its text as it comes."""
    body = json.dumps({"model": "m", "stream": True, "system": SYSTEM, "tools": TOOLS, "messages": messages}).encode()
    writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    await reader.readuntil(b"\r\n\r\n")
    block: dict[str, Any] = {}
    arguments = ""
    while size := int(await reader.readline(), 16):
        chunk = await reader.readexactly(size + 2)
        for line in chunk.splitlines():
            if not line.startswith(b"data: "):
                continue
            data = json.loads(line[6:])
            if data["type"] == "content_block_start":
                block = data["content_block"]
            elif data["type"] == "content_block_delta" and data["delta"]["type"] == "input_json_delta":
                arguments += data["delta"]["partial_json"]
            elif data["type"] == "content_block_delta":
                block["text"] += data["delta"]["text"]
                print(json.dumps(data["delta"]), flush=True)
    await reader.readexactly(2)
    return block | ({"input": json.loads(arguments)} if arguments else {})


async def run_bash(arguments: dict[str, str]) -> str:
    """Run the command and return its output."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", arguments["command"], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    return (await process.communicate())[0].decode()


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1])))
