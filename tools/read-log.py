#!/usr/bin/env python3
"""Reads a ledger with no code of Tallystick's and prints it in the interchange form.

Written from the byte tables alone (Sources/TallyCore/CommitFormat.swift, InterchangeForm.swift): it checks
every commit's length, reserved bytes, checksum, offsets, time and head, and says where one is wrong.
A log that holds a window of another begins at the window's lower end.

    apt-get install python3-lmdb    or    python3 -m pip install lmdb
    tools/read-log.py DIR > ledger.jsonl

The ledger must not be running: no reader slot is taken.

Exit codes: 0 all is well, 1 a commit is not valid, 3 the ledger cannot be read.
"""
import base64
import hashlib
import json
import os
import struct
import sys
from datetime import datetime, timezone

KINDS = [None, "opened", "commanded", "sent", "received", "answered", "acknowledged", "timedOut",
         "reemitted", "conflicted", "witnessed", "intervened", "noted"]
OUTCOMES = [None, "applied", "expired", "accepted", "rejected"]
REASONS = [None, "retry", "deadline", "recovery", "forced", "delivery", "answer", "notice",
           "overruled", "peer", "mark", "clock"]
FIELDS = {"opened": 24, "commanded": 32, "sent": 0, "received": 24, "answered": 0,
          "acknowledged": 8, "timedOut": 8, "reemitted": 24, "conflicted": 64, "witnessed": 64,
          "intervened": 104, "noted": 0}

TABLES = []
for start in range(8):
    TABLES.append([0] * 256)
for byte in range(256):
    crc = byte
    for _ in range(8):
        crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    TABLES[0][byte] = crc
for byte in range(256):
    for start in range(1, 8):
        before = TABLES[start - 1][byte]
        TABLES[start][byte] = (before >> 8) ^ TABLES[0][before & 0xFF]


def crc32c(data):
    """CRC-32C, eight bytes at a time."""
    crc = 0xFFFFFFFF
    t0, t1, t2, t3, t4, t5, t6, t7 = TABLES
    whole = len(data) // 8 * 8
    for (word,) in struct.iter_unpack("<Q", data[:whole]):
        word ^= crc
        crc = (t7[word & 0xFF] ^ t6[word >> 8 & 0xFF] ^ t5[word >> 16 & 0xFF]
               ^ t4[word >> 24 & 0xFF] ^ t3[word >> 32 & 0xFF] ^ t2[word >> 40 & 0xFF]
               ^ t1[word >> 48 & 0xFF] ^ t0[word >> 56])
    for byte in data[whole:]:
        crc = (crc >> 8) ^ t0[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Invalid(Exception):
    """A commit that breaks the validity rule."""


def need(condition, text):
    if not condition:
        raise Invalid(text)


def text(value):
    """A JSON value as the interchange form writes it: other escapes than json.dumps has."""
    if isinstance(value, str):
        out = []
        for character in value:
            if character in '"\\':
                out.append("\\" + character)
            elif character < " " or character == "\x7f":
                out.append(f"\\u{ord(character):04x}")
            else:
                out.append(character)
        return '"' + "".join(out) + '"'
    if isinstance(value, dict):
        return "{" + ",".join(text(key) + ":" + text(item) for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text, value)) + "]"
    return json.dumps(value)


def time_text(nanoseconds):
    seconds, fraction = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{fraction:09d}Z"


def event_line(data, shard, offset, first, time, epoch, head, names):
    """One event as the ordered fields of its line."""
    length, kind, flags, outcome, reason, peer, attempt = struct.unpack_from("<IBBBBII", data, 0)
    sequence, deadline, cause = struct.unpack_from("<QQQ", data, 16)
    correlation = data[40:56]
    need(0 < kind < len(KINDS), f"event kind {kind} is unknown")
    kind = KINDS[kind]
    fields = data[56:56 + FIELDS[kind]]
    body = data[56 + FIELDS[kind]:length]
    need(length >= 56 + FIELDS[kind], "an event is shorter than its fields")
    line = {"shard": shard, "offset": offset, "commit": first, "time": time_text(time)}

    def add(key, value, present=None):
        if value if present is None else present:
            line[key] = value

    def name(number):
        need(number <= len(names), f"shard {number} is not in the manifest")
        return names[number - 1]

    result = b""
    add("epoch", epoch)
    line["kind"] = kind
    add("clean", True, flags & 1)
    if peer:
        line["peer"] = name(peer)
    add("sequence", sequence)
    add("attempt", attempt)
    add("outcome", OUTCOMES[outcome])
    add("reason", REASONS[reason])
    if deadline:
        line["deadline"] = time_text(deadline)
    add("cause", cause)
    add("correlation", correlation.hex(), any(correlation))
    if kind == "opened":
        add("nonce", fields[:16].hex(), any(fields[:16]))
        add("foldVersion", struct.unpack_from("<I", fields, 16)[0])
    elif kind == "commanded":
        settled, count = struct.unpack_from("<QI", fields, 16)
        add("client", fields[:16].hex(), any(fields[:16]))
        add("settledThrough", settled)
        need(count <= len(body), "a result is longer than its event")
        body, result = body[:len(body) - count], body[len(body) - count:]
    elif kind == "received":
        sent_at, peer_offset, settled = struct.unpack("<QQQ", fields)
        if sent_at:
            line["sentAt"] = time_text(sent_at)
        add("peerOffset", peer_offset)
        add("settledThrough", settled)
    elif kind in ("acknowledged", "timedOut"):
        add("peerOffset", struct.unpack("<Q", fields)[0])
    elif kind == "reemitted":
        add("through", struct.unpack_from("<Q", fields, 0)[0])
        add("plan", fields[8:24].hex(), any(fields[8:24]))
    elif kind == "conflicted":
        add("held", fields[:32].hex(), any(fields[:32]))
        add("offered", fields[32:].hex(), any(fields[32:]))
    elif kind == "witnessed":
        add("peerOffset", struct.unpack_from("<Q", fields, 24)[0])
        add("peerEpoch", struct.unpack_from("<Q", fields, 0)[0])
        add("peerNonce", fields[8:24].hex(), any(fields[8:24]))
        add("peerHead", fields[32:].hex(), any(fields[32:]))
    elif kind == "intervened":
        words = struct.unpack_from("<QQQQQQ", fields, 24)
        add("peerOffset", words[0])
        add("settledThrough", words[4])
        add("peerEpoch", struct.unpack_from("<Q", fields, 0)[0])
        add("peerNonce", fields[8:24].hex(), any(fields[8:24]))
        add("statementOffset", words[1])
        add("receivedThrough", words[2])
        add("floor", words[3])
        add("difference", words[5])
        add("markHead", fields[72:].hex(), any(fields[72:]))
    add("payload", base64.b64encode(body).decode(), len(body) > 0)
    add("result", base64.b64encode(result).decode(), len(result) > 0)
    if head is not None:
        line["head"] = head.hex()
    return line


def read_commit(key, value, previous, state, shard, names, out):
    """Checks one commit and prints its events; returns its head."""
    need(len(value) >= 136 and len(value) % 8 == 0, "the length is impossible")
    magic, version, zero, length, count, first, time, epoch = struct.unpack_from("<4sHHIIQQQ", value)
    need(magic == b"TLLY" and version == 1 and zero == 0, "magic, version or reserved bytes")
    need(length == len(value), "the length is not the record's")
    zero, crc = struct.unpack_from("<II", value, 72)
    need(zero == 0 and crc == crc32c(value[:76] + value[80:]), "the checksum does not match")
    need(key == first == state["offset"] + 1, f"offset {state['offset'] + 1} is expected")
    need(state["time"] < time < 2**63, "time does not rise")
    need(value[40:72] == previous, "the previous head is not the head of the commit before")
    head = hashlib.sha256(value).digest()
    at = 80
    for index in range(count):
        need(at + 56 <= len(value), "the commit ends inside an event")
        (size,) = struct.unpack_from("<I", value, at)
        need(size >= 56 and at + size <= len(value), "an event does not fit")
        padded = (size + 7) // 8 * 8
        need(not any(value[at + size:at + padded]), "padding is not zero")
        line = event_line(value[at:at + size], shard, first + index, first, time, epoch,
                          head if index == count - 1 else None, names)
        out.write(json.dumps(line, separators=(",", ":")) + "\n")
        at += padded
    need(at == len(value), "the commit holds more than its count says")
    state["offset"], state["time"] = first + count - 1, time
    return head


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        import lmdb
    except ImportError:
        print("this needs lmdb: apt-get install python3-lmdb, or python3 -m pip install lmdb",
              file=sys.stderr)
        return 3
    directory = sys.argv[1]
    try:
        with open(os.path.join(directory, "ledger.json"), encoding="utf-8") as file:
            manifest = json.load(file)
    except (OSError, ValueError) as error:
        print(f"{directory}: {error}", file=sys.stderr)
        return 3
    header = {"format": "tally-events", "version": 1}
    if manifest["native"]:
        header["native"] = True
    header["ledger"] = manifest["name"]
    for key in ("id", "program", "answers", "ordered", "unordered", "windows", "shards"):
        if key in manifest:
            header[key] = manifest[key]
    # UTF-8 whatever the locale says.
    out = open(sys.stdout.fileno(), "w", encoding="utf-8", newline="\n", closefd=False)
    out.write(text(header) + "\n")
    names = manifest["shards"]
    for number, shard in enumerate(names, 1):
        try:
            environment = lmdb.open(os.path.join(directory, "shards", shard), readonly=True,
                                    lock=False, max_dbs=4, map_size=256 << 30)
            table = environment.open_db(b"log", create=False)
        except lmdb.Error as error:
            print(f"{shard}: {error}", file=sys.stderr)
            return 3
        seed = bytes.fromhex(manifest["id"]) + struct.pack("<I", number)
        previous = hashlib.sha256(seed).digest()
        window = manifest.get("windows", {}).get(shard, [1, 2**63])
        state = {"offset": window[0] - 1, "time": 0}
        with environment.begin(db=table) as transaction:
            for key, value in transaction.cursor():
                position = int.from_bytes(key, "big")
                try:
                    previous = read_commit(position, value, previous, state, shard, names, out)
                except Invalid as error:
                    out.flush()
                    print(f"{shard}@{position}: {error}", file=sys.stderr)
                    return 1
        environment.close()
        if state["offset"] > window[1]:
            out.flush()
            print(f"{shard}@{state['offset']}: it lies behind the window, which ends at {window[1]}",
                  file=sys.stderr)
            return 1
    out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
