"""A gRPC client that is given nothing but an address: all it knows, it asked by reflection."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from grpc_reflection.v1alpha import reflection_pb2

from harness import Failure

VERSIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Reflection:
    """Asks one version of the reflection service. Their messages are the same on the wire."""

    def __init__(self, channel: grpc.Channel, version: str) -> None:
        self.ask: Callable[..., Iterator[Any]] = channel.stream_stream(
            f"/{version}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        self.pool = descriptor_pool.DescriptorPool()
        self.known: set[str] = set()

    def request(self, **fields: str) -> Any:
        """Asks one question."""
        request = reflection_pb2.ServerReflectionRequest(**fields)
        response = next(iter(self.ask(iter([request]), timeout=10)))
        if response.HasField("error_response"):
            raise Failure(f"reflection of {fields}: {response.error_response.error_message}")
        return response

    def services(self) -> list[str]:
        """Names all services."""
        listed = self.request(list_services="*").list_services_response
        return sorted(service.name for service in listed.service)

    def service(self, name: str) -> Any:
        """Gives the descriptor of a service, built from what the server told."""
        self.learn(self.request(file_containing_symbol=name))
        return self.pool.FindServiceByName(name)

    def learn(self, response: Any) -> None:
        """Adds files to the pool, after those that they import."""
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(text)
            for text in response.file_descriptor_response.file_descriptor_proto
        ]
        here = {file.name: file for file in files}

        def add(file: Any) -> None:
            if file.name in self.known:
                return
            self.known.add(file.name)
            for imported in file.dependency:
                if imported in here:
                    add(here[imported])
                elif imported not in self.known:
                    self.learn(self.request(file_by_filename=imported))
            self.pool.Add(file)

        for file in files:
            add(file)


class Service:
    """A service whose methods are called by name, with fields by name."""

    def __init__(self, channel: grpc.Channel, descriptor: Any) -> None:
        self.channel = channel
        self.descriptor = descriptor
        self.methods: dict[str, MethodDescriptor] = dict(descriptor.methods_by_name)

    def call(self, name: str, seconds: float = 10.0, **fields: Any) -> Any:
        """Calls a method; a stream of answers is given as the call itself."""
        method = self.methods[name]
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        answer = message_factory.GetMessageClass(method.output_type)
        is_stream = method.server_streaming
        kind = self.channel.unary_stream if is_stream else self.channel.unary_unary
        stub = kind(
            f"/{self.descriptor.full_name}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return stub(request, timeout=seconds)

    def status(self, name: str, **fields: Any) -> grpc.StatusCode:
        """Calls a method and gives the code of its answer."""
        try:
            self.call(name, **fields)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def enum_name(record: Any, field: str) -> str:
    """Names the value of an enum without the prefix of its type."""
    enum = record.DESCRIPTOR.fields_by_name[field].enum_type
    name: str = enum.values_by_number[getattr(record, field)].name
    return name.removeprefix("VERDICT_STATE_")


def instant(stamp: Any) -> str:
    """Writes a time as the JSON does."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stamp.seconds))
    fraction = f".{stamp.nanos:09d}".rstrip("0") if stamp.nanos else ""
    return f"{text}{fraction}Z"


class Watch:
    """Collects what `WatchVerdict` says of one deployment, from its begin to its end."""

    def __init__(self, gates: Service, **begin: Any) -> None:
        self.deployment: str = begin["deployment"]
        self.records: list[Any] = [gates.call("Begin", **begin)]
        self.changed = threading.Condition()
        self.error: grpc.RpcError | None = None
        self.is_done = False
        self.stream: Iterable[Any] = gates.call(
            "WatchVerdict", seconds=300.0, deployment=self.deployment
        )
        self.thread = threading.Thread(target=self.collect, daemon=True)
        self.thread.start()

    def collect(self) -> None:
        """Takes verdicts until the stream ends."""
        try:
            for record in self.stream:
                with self.changed:
                    self.records.append(record)
                    self.changed.notify_all()
        except grpc.RpcError as error:
            self.error = error
        with self.changed:
            self.is_done = True
            self.changed.notify_all()

    def states(self) -> list[str]:
        """The verdicts in order, each once in a row."""
        with self.changed:
            names = [enum_name(record, "verdict") for record in self.records]
        return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]

    def wait(self, state: str, seconds: float) -> Any:
        """Waits until the verdict is `state`, and gives the record."""

        def reached() -> bool:
            return enum_name(self.records[-1], "verdict") == state or self.is_done

        with self.changed:
            self.changed.wait_for(reached, seconds)
            last = self.records[-1]
        if enum_name(last, "verdict") != state:
            raise Failure(
                f"{self.deployment} did not reach {state} within {seconds:.0f} s: {self.states()},"
                f" last {list(last.reasons)}, {self.error}"
            )
        return last

    def wait_closed(self, seconds: float) -> bool:
        """Waits until the server has closed the stream without an error."""
        with self.changed:
            self.changed.wait_for(lambda: self.is_done, seconds)
        return self.is_done and self.error is None

    def changes(self) -> list[tuple[str, str, list[str]]]:
        """Each change of the verdict: what it became, since when, and why, as first said."""
        found: list[tuple[str, str, list[str]]] = []
        for record in self.records:
            state = enum_name(record, "verdict")
            if not found or found[-1][0] != state:
                found.append((state, instant(record.since), list(record.reasons)))
        return found
