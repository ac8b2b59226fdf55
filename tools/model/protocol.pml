/*
 * The protocol between two shards (rules 1 to 11 of the design, as Sources/TallyCore has them), for spin.
 *
 * A shard is its log: an array of events, its durable end, and the fold of it. What is volatile besides is
 * the session it hears and whether it stopped. A network is a set of envelopes for each receiver: whatever
 * was once released may arrive at any time, any number of times, in any order, or never.
 *
 * How the set is kept small, without losing a history (README.md has the arguments):
 * (1) Releasing early is never less than releasing late, since an envelope may arrive late: what may be
 *     released is released at once (`speak`), and so is a reply that changes nothing but the set (`react`).
 * (2) An envelope that can have no effect any more, whatever happens, is dropped from the set (`sift`).
 *
 * Steps are: a command, the arrival of an envelope that has an effect, a deferred answer, a flush, a crash,
 * a stale restore, a forced timeout, an accept, and that faults stop. Every step appends to a log or uses
 * up a budget, so every run ends; where nothing is left to happen everything must be settled (`Judge`).
 */

#include "rules.pml"

#define EVENTS 16               /* offsets are 1...15 */
#define SLOTS 20
#define SEQUENCES 4             /* sequences are 1...3 */
#define SESSIONS 8              /* sessions are 1...7; 0 is none */

/* ---- Settings: constants of a run, taken from the environment, and so not a part of the state. ---- */

hidden byte orders[2];          /* messages that commands send */
hidden byte caused[2];          /* messages that are sent because of the receipt of sequence 1 */
hidden byte pending_max;        /* rule 9 */
hidden byte ordered;            /* both channels are */
hidden byte deadlines;          /* messages have one; lateness is a free choice of the destination */
hidden byte defers;             /* an answer may come later than the receipt */
hidden byte crashes[2];         /* how often at most, by shard */
hidden byte restores[2];
hidden byte forces[2];
hidden byte accepts;
hidden byte keeps;              /* events that an old copy holds at least */
hidden int without;             /* rules that are taken out, by number: bits */

c_code {
    static int setting(const char *name, int otherwise) {
        const char *text = getenv(name);
        return text && *text ? atoi(text) : otherwise;
    }
}

/* ---- Events: kind in bits 0-3. ---- */

#define OPENED 1                /* session 4-6 */
#define SENT 2                  /* sequence 4-5, bytes 6-8 */
#define RECEIVED 3              /* sequence, bytes, settled-through 9-10, the origin's offset 11-14, how 15-16 */
#define ANSWERED 4              /* sequence */
#define SETTLED 5               /* sequence, result 6-8, the destination's offset 11-14 */
#define WITNESSED 6             /* session 4-6, the peer's offset 11-14 */
#define INTERVENED 7            /* the refused statement 4-20 */

#define event_kind(event) ((event) & 15)
#define event_session(event) (((event) >> 4) & 7)
#define event_sequence(event) (((event) >> 4) & 3)
#define event_bytes(event) (((event) >> 6) & 7)
#define event_result(event) (((event) >> 6) & 7)
#define event_settled(event) (((event) >> 9) & 3)
#define event_offset(event) (((event) >> 11) & 15)
#define event_how(event) (((event) >> 15) & 3)
#define event_statement(event) (((event) >> 4) & 131071)
#define JOINED (1 << 24)        /* one commit with the event before */

/* What a receipt has come to (how), and a message at its origin (result). */
#define OWED 1
#define REPLIED 2
#define EXPIRED 3
#define ACKNOWLEDGED 1
#define TIMED_OUT 2
#define FORCED 3
#define LOST 4

/* ---- Statements (rule 2): 17 bits. ---- */

#define statement(self) \
    (sh[self].seen | (sh[self].seen_end << 3) | (sh[self].seen_at << 7) | (sh[self].through << 11) | \
        (sh[self].floor << 13) | (sh[self].settled << 15))
#define statement_session(item) ((item) & 7)
#define statement_offset(item) (((item) >> 3) & 15)
#define statement_through(item) (((item) >> 11) & 3)
#define statement_floor(item) (((item) >> 13) & 3)
#define statement_settled(item) (((item) >> 15) & 3)

/* ---- Envelopes: kind in bits 0-2, the sender's session 3-5, the receiver's 6-8. ---- */

#define ASK 1                   /* confirm?: statement 9-25 */
#define CONFIRMED 2             /* the asker's statement 9-25, the sender's durable end 26-29 */
#define DELIVER 3               /* sequence 9-10, bytes 11-13, settled-through 14-15, offset 16-19 */
#define ANSWER 4                /* sequence, digest 11-13, how 14-15, offset */
#define CONFLICT 5              /* sequence, the digest held */

#define kind_of(item) ((item) & 7)
#define from_of(item) (((item) >> 3) & 7)
#define to_of(item) (((item) >> 6) & 7)
#define statement_of(item) (((item) >> 9) & 131071)
#define end_of(item) (((item) >> 26) & 15)
#define sequence_of(item) (((item) >> 9) & 3)
#define bytes_of(item) (((item) >> 11) & 7)
#define settled_of(item) (((item) >> 14) & 3)
#define how_of(item) (((item) >> 14) & 3)
#define offset_of(item) (((item) >> 16) & 15)
#define header(kind, from, to) ((kind) | ((from) << 3) | ((to) << 6))

/* ---- A shard ---- */

typedef Shard {
    int log[EVENTS];            /* from 1 */
    byte end;
    byte durable;
    byte made;                  /* sessions ever opened: the source of what is random in `opened` */
    byte session;               /* the present one */

    byte heard;                 /* volatile: the peer's session that alone is heard */
    byte stopped;               /* volatile: FORK or BYTES */
    int refused;                /* the statement over which it stopped */

    byte folded;                /* what follows is the fold of the log through here */
    byte first[SESSIONS];       /* where a session of this log began and ended */
    byte last[SESSIONS];
    byte current;               /* the last session folded */
    byte next;                  /* the next sequence to the peer */
    byte sent[SEQUENCES];       /* bytes of own messages */
    byte sent_at[SEQUENCES];
    byte result[SEQUENCES];
    byte settled;               /* settled-through */
    byte got[SEQUENCES];        /* bytes of the peer's messages */
    byte how[SEQUENCES];
    byte at[SEQUENCES];         /* offset of the receipt, then of its answer */
    byte floor;
    byte through;               /* received-through */
    byte seen;                  /* what was witnessed: the peer's session, offset; where it is recorded */
    byte seen_end;
    byte seen_at;
    int accepted[4];            /* statements that an operator accepted */

    int net[SLOTS];             /* envelopes for this shard, ascending */
    byte count;
    int hot;                    /* bit i: the arrival of net[i] has an effect */
}

Shard sh[2];

#define FORK 1
#define BYTES 2

/* Budgets that are left, and what has happened. */
byte crashes_left[2];
byte restores_left[2];
byte forces_left[2];
byte accepts_left;
byte restored[2];               /* an old copy was put into place */
byte accepted;                  /* an operator let a stopped shard go on */

/* Scratch of one step: never a part of the state. */
hidden byte self; hidden byte peer; hidden byte number; hidden byte low; hidden byte place; hidden byte found;
hidden byte keep; hidden byte warm; hidden byte kept;
hidden int event; hidden int item; hidden int draft;

#define peer_of(shard) (1 - (shard))
#define is_durable(shard) (sh[shard].durable == sh[shard].end)
#define is_pending(shard, sequence) \
    (sh[shard].sent[sequence] != 0 && sh[shard].result[sequence] == 0)
/* A receipt is known above the floor, and while it is owed (rule 3). */
#define is_known(shard, sequence) \
    (sh[shard].got[sequence] != 0 && \
        (sequence > sh[shard].floor || sh[shard].how[sequence] == OWED))
/* The session whose `opened` is durable, and which therefore others can know of (rule 1). */
#define is_open(shard) \
    (sh[shard].durable >= sh[shard].first[sh[shard].session] || WITHOUT(OPENED_BEFORE_SPEAKING))
#define may_speak(shard) \
    (is_durable(shard) || (WITHOUT(OPENED_BEFORE_SPEAKING) && \
        sh[shard].end == sh[shard].first[sh[shard].session]))

#define append(shard, event) \
    assert(sh[shard].end < EVENTS - 1); \
    sh[shard].end++; \
    sh[shard].log[sh[shard].end] = event

/* ---- The fold (rule 10: what would be an anomaly is an assertion) ---- */

inline witness(offset) {
    if
    :: offset > sh[self].seen_end -> sh[self].seen_end = offset; sh[self].seen_at = sh[self].folded
    :: else
    fi
}

inline fold_event() {
    number = event_sequence(event);
    if
    :: event_kind(event) == OPENED ->
        if
        :: sh[self].current != 0 -> sh[self].last[sh[self].current] = sh[self].folded - 1
        :: else
        fi;
        sh[self].current = event_session(event);
        sh[self].first[sh[self].current] = sh[self].folded
    :: event_kind(event) == SENT ->
        assert(number == sh[self].next);
        sh[self].next = number + 1;
        sh[self].sent[number] = event_bytes(event);
        sh[self].sent_at[number] = sh[self].folded
    :: event_kind(event) == RECEIVED ->
        /* Only a receipt or an accept moves the floor. */
        if
        :: event_settled(event) > sh[self].floor -> sh[self].floor = event_settled(event)
        :: else
        fi;
        assert(sh[self].got[number] == 0);      /* the effect at most once */
        sh[self].got[number] = event_bytes(event);
        sh[self].how[number] = event_how(event);
        sh[self].at[number] = sh[self].folded;
        if
        :: number > sh[self].through -> sh[self].through = number
        :: else
        fi;
        if
        :: WITHOUT(FLOOR_ON_THE_ORIGINS_WORD) -> sh[self].floor = sh[self].through
        :: else
        fi;
        witness(event_offset(event))
    :: event_kind(event) == ANSWERED ->
        assert(sh[self].how[number] == OWED);
        sh[self].how[number] = REPLIED;
        sh[self].at[number] = sh[self].folded
    :: event_kind(event) == SETTLED ->
        assert(is_pending(self, number));       /* acknowledged xor timed out xor lost */
        sh[self].result[number] = event_result(event);
        if
        :: event_result(event) != FORCED -> witness(event_offset(event))
        :: else
        fi
    :: event_kind(event) == WITNESSED ->
        sh[self].seen = event_session(event);
        sh[self].seen_end = event_offset(event);
        sh[self].seen_at = sh[self].folded
    :: event_kind(event) == INTERVENED -> fold_accept()
    fi
}

/* `recover accept` (rule 2): own sends that the peer holds or would drop are closed as lost. */
inline fold_accept() {
    item = event_statement(event);
    low = 0;
    do
    :: sh[self].accepted[low] != 0 -> low++
    :: else -> break
    od;
    sh[self].accepted[low] = item;
    /* Where the history that it names parts from this log. */
    low = 0;
    place = statement_session(item);
    if
    :: place == sh[self].current -> low = sh[self].folded
    :: place != sh[self].current && sh[self].first[place] != 0 -> low = sh[self].last[place]
    :: else
    fi;
    number = 1;
    do
    :: number < SEQUENCES ->
        if
        :: is_pending(self, number) && !WITHOUT(ACCEPT_CLOSES_OVERLAPS) &&
            (number <= statement_floor(item) && !WITHOUT(ACCEPT_CLOSES_BELOW_FLOOR) ||
            number <= statement_through(item) && sh[self].sent_at[number] > low) -> sh[self].result[number] = LOST
        :: else
        fi;
        number++
    :: else -> break
    od;
    if
    :: statement_floor(item) >= sh[self].next -> sh[self].next = statement_floor(item) + 1
    :: else
    fi;
    if
    :: statement_through(item) >= sh[self].next && !WITHOUT(ACCEPT_MOVES_NEXT) ->
        sh[self].next = statement_through(item) + 1
    :: else
    fi;
    if
    :: statement_settled(item) > sh[self].floor ->
        sh[self].floor = statement_settled(item)
    :: else
    fi
}

inline fold() {
    do
    :: sh[self].folded < sh[self].end ->
        sh[self].folded++;
        event = sh[self].log[sh[self].folded];
        fold_event()
    :: else -> break
    od;
    sh[self].settled = 0;
    do
    :: sh[self].settled + 1 < sh[self].next && !is_pending(self, sh[self].settled + 1) -> sh[self].settled++
    :: else -> break
    od
}

/* ---- What is found (rule 2): sets `found` for statement item and shard s. ---- */

inline find() {
    low = statement_session(item);
    found = 0;
    if
    :: low == 0 -> found = 1            /* the peer has witnessed nothing */
    :: else ->
        if
        :: WITHOUT(OFFSET_IN_SESSION) -> found = (statement_offset(item) <= sh[self].durable)
        :: else ->
            if
            :: sh[self].first[low] != 0 && statement_offset(item) >= sh[self].first[low] ->
                found = (WITHOUT(OFFSET_IN_STATEMENT) || statement_offset(item) <=
                    (low == sh[self].current -> sh[self].durable : sh[self].last[low]))
            :: else
            fi
        fi
    fi;
    /* What the peer holds to be settled is settled here. */
    if
    :: statement_floor(item) > sh[self].settled && !WITHOUT(FLOOR_IN_FOUND) -> found = 0
    :: else
    fi;
    if
    :: item == sh[self].accepted[0] || item == sh[self].accepted[1] ||
        item == sh[self].accepted[2] || item == sh[self].accepted[3] || WITHOUT(SESSIONS_CONFIRMED) ->
        found = 1
    :: else
    fi
}

/* ---- The network ---- */

/* Adds envelope draft to the set of shard t. */
inline release() {
    low = 0;
    do
    :: low < sh[peer].count && sh[peer].net[low] < draft -> low++
    :: else -> break
    od;
    if
    :: low < sh[peer].count && sh[peer].net[low] == draft -> skip
    :: else ->
        assert(sh[peer].count < SLOTS);
        place = sh[peer].count;
        do
        :: place > low -> sh[peer].net[place] = sh[peer].net[place - 1]; place--
        :: else -> break
        od;
        sh[peer].net[low] = draft;
        sh[peer].count++
    fi
}

/* What shard self may say of its own accord (rules 1, 2, 8): it asks, and sends again what is pending, to the
   peer's present session if that can be known. */
inline speak() {
    peer = peer_of(self);
    if
    :: !sh[self].stopped && may_speak(self) ->
        draft = header(ASK, sh[self].session, (is_open(peer) -> sh[peer].session : 0)) | (statement(self) << 9);
        release()
    :: else
    fi;
    number = 1;
    do
    :: number < SEQUENCES ->
        if
        :: !sh[self].stopped && is_open(self) && is_open(peer) && is_pending(self, number) &&
            (may_speak(self) || (WITHOUT(STAMPS_FROM_DURABLE) && sh[self].sent_at[number] <= sh[self].durable) ||
                WITHOUT(MESSAGES_FROM_DURABLE)) ->
            draft = header(DELIVER, sh[self].session, sh[peer].session) | (number << 9) | (sh[self].sent[number] << 11) |
                (sh[self].settled << 14) | (sh[self].sent_at[number] << 16);
            release()
        :: else
        fi;
        number++
    :: else -> break
    od
}

#define names_me(item) (to_of(item) == sh[self].session || WITHOUT(BOTH_SESSIONS_NAMED))
#define is_heard(item) \
    (from_of(item) == sh[self].heard || \
        (WITHOUT(LAST_SESSION_ALONE) && sh[self].heard != 0 && from_of(item) <= sh[self].heard))
#define answers_from_durable(shard) \
    (may_speak(shard) || (WITHOUT(ANSWERS_FROM_DURABLE) && is_open(shard)))

/* Replies of shard self that change nothing but the set: a confirmation, an answer again, a conflict. */
inline react() {
    peer = peer_of(self);
    warm = 0;
    do
    :: warm < sh[self].count && !sh[self].stopped && answers_from_durable(self) ->
        item = sh[self].net[warm];
        draft = 0;
        if
        :: kind_of(item) == ASK && may_speak(self) ->
            draft = header(CONFIRMED, sh[self].session, from_of(item)) | (statement_of(item) << 9) |
                (sh[self].durable << 26);
            item = statement_of(item);
            find();
            if
            :: !found || (WITHOUT(HANDSHAKE_EXEMPT) && sh[self].heard != from_of(sh[self].net[warm])) -> draft = 0
            :: else
            fi
        :: kind_of(item) == DELIVER && names_me(item) && is_heard(item) && sequence_of(item) > sh[self].floor &&
            is_known(self, sequence_of(item)) ->
            number = sequence_of(item);
            if
            :: sh[self].got[number] != bytes_of(item) && !WITHOUT(BYTES_COMPARED) ->
                if
                :: !WITHOUT(CONFLICT_REPLIED) ->
                    draft = header(CONFLICT, sh[self].session, from_of(item)) | (number << 9) | (sh[self].got[number] << 11)
                :: else
                fi
            :: WITHOUT(IDENTITY_BEFORE_CLOCK) && deadlines && sh[self].how[number] != EXPIRED ->
                draft = header(ANSWER, sh[self].session, from_of(item)) | (number << 9) | (sh[self].got[number] << 11) |
                    (EXPIRED << 14) | (sh[self].at[number] << 16)
            :: else ->
                if
                :: sh[self].how[number] != OWED ->
                    draft = header(ANSWER, sh[self].session, from_of(item)) | (number << 9) | (sh[self].got[number] << 11) |
                        (sh[self].how[number] << 14) | (sh[self].at[number] << 16)
                :: else
                fi
            fi
        :: else
        fi;
        if
        :: draft != 0 -> release()
        :: else
        fi;
        warm++
    :: else -> break
    od
}

/* The next sequence of an ordered channel, given an envelope's settled-through (rule 3). */
#define expected(floor) \
    (((floor) > sh[self].through && !WITHOUT(EXPECTED_PAST_FLOOR) -> (floor) : sh[self].through) + 1)
#define larger(a, b) ((a) > (b) -> (a) : (b))
/* Rule 9: what a message causes is always admitted. */
#define is_admitted() \
    (!WITHOUT(ONLY_COMMANDS_REFUSED) || sh[self].next - 1 - sh[self].settled < pending_max)

/* Drops from the set of shard self what can have no effect any more, and marks what has one now. */
inline sift() {
    peer = peer_of(self);
    sh[self].hot = 0;
    kept = 0;
    place = 0;
    do
    :: place < sh[self].count ->
        draft = sh[self].net[place];
        number = sequence_of(draft);
        keep = 0;
        warm = 0;
        if
        :: sh[self].stopped ->          /* takes nothing; whatever follows is a session of its own */
            keep = (kind_of(draft) == ASK && WITHOUT(STOP_ONLY_IF_NAMED))
        :: !sh[self].stopped && kind_of(draft) == ASK ->
            item = statement_of(draft);
            find();
            if
            :: !found && (to_of(draft) == sh[self].session || WITHOUT(STOP_ONLY_IF_NAMED)) ->
                keep = 1;
                warm = 1                /* history has forked */
            :: else ->
                /* Only the present question of a living session can still be answered to some end. */
                keep = ((from_of(draft) == sh[peer].session && !sh[peer].stopped &&
                    (item == statement(peer) || WITHOUT(STATEMENT_COMPARED))) ||
                    WITHOUT(STOP_ONLY_IF_NAMED))
            fi
        :: !sh[self].stopped && kind_of(draft) == CONFIRMED ->
            keep = (to_of(draft) == sh[self].session && from_of(draft) != sh[self].heard &&
                (statement_of(draft) == statement(self) || WITHOUT(STATEMENT_COMPARED)));
            warm = keep
        :: !sh[self].stopped && kind_of(draft) == DELIVER ->
            keep = (names_me(draft) && (number > sh[self].floor) &&
                !(is_known(self, number) && is_heard(draft) && is_durable(self) && sh[self].how[number] != OWED &&
                    !WITHOUT(RECEIPTS_KEPT)));
            warm = (keep && is_heard(draft) && is_admitted() &&
                (!is_known(self, number) || (WITHOUT(RECEIPTS_KEPT) && sh[self].how[number] == REPLIED)) &&
                (!ordered || number == expected(larger(sh[self].floor, settled_of(draft)))))
        :: !sh[self].stopped && kind_of(draft) == ANSWER ->
            keep = (names_me(draft) && (sh[self].result[number] == 0 || WITHOUT(SETTLED_ONCE)));
            warm = (keep && is_heard(draft) && (is_pending(self, number) || WITHOUT(SETTLED_ONCE)))
        :: !sh[self].stopped && kind_of(draft) == CONFLICT ->
            keep = (names_me(draft) && sh[self].result[number] == 0);
            warm = (keep && is_heard(draft) && is_pending(self, number) && sh[self].sent[number] != bytes_of(draft))
        :: else
        fi;
        if
        :: keep ->
            sh[self].net[kept] = draft;
            if
            :: warm -> sh[self].hot = sh[self].hot | (1 << kept)
            :: else
            fi;
            kept++
        :: else
        fi;
        place++
    :: else -> break
    od;
    place = kept;
    do
    :: place < sh[self].count -> sh[self].net[place] = 0; place++
    :: else -> break
    od;
    sh[self].count = kept
}

/* ---- The laws that hold at every moment, until an old copy is put into place ---- */

inline check_halves() {
    number = 1;
    peer = peer_of(self);
    do
    :: number < SEQUENCES ->
        /* A receipt has its send, with the same bytes, and it was durable. */
        assert(sh[self].got[number] == 0 || restored[peer] ||
            (sh[self].got[number] == sh[peer].sent[number] && sh[peer].sent_at[number] <= sh[peer].durable));
        /* Acknowledged: applied and answered. Timed out without force: expired, never applied. */
        assert(sh[self].result[number] != ACKNOWLEDGED || restored[peer] ||
            (sh[peer].how[number] == REPLIED && sh[peer].got[number] == sh[self].sent[number] &&
                sh[peer].at[number] <= sh[peer].durable));
        assert(sh[self].result[number] != TIMED_OUT || restored[peer] ||
            (sh[peer].how[number] == EXPIRED && sh[peer].got[number] == sh[self].sent[number] &&
                sh[peer].at[number] <= sh[peer].durable));
        number++
    :: else -> break
    od
}

/* What follows every step. */
inline finish() {
    self = 0; do :: self < 2 -> fold(); self++ :: else -> break od;
    self = 0; do :: self < 2 -> check_halves(); self++ :: else -> break od;
    self = 0; do :: self < 2 -> speak(); self++ :: else -> break od;
    self = 0; do :: self < 2 -> react(); self++ :: else -> break od;
    self = 0; do :: self < 2 -> sift(); self++ :: else -> break od;
    self = 0
}

/* A writer starts on what is durable. */
inline restart(me) {
    sh[me].end = sh[me].durable;
    number = sh[me].end + 1;
    do
    :: number < EVENTS -> sh[me].log[number] = 0; number++
    :: else -> break
    od;
    number = 0;
    do
    :: number < SEQUENCES ->
        sh[me].sent[number] = 0; sh[me].sent_at[number] = 0; sh[me].result[number] = 0;
        sh[me].got[number] = 0; sh[me].how[number] = 0; sh[me].at[number] = 0;
        number++
    :: else -> break
    od;
    number = 0;
    do
    :: number < SESSIONS -> sh[me].first[number] = 0; sh[me].last[number] = 0; number++
    :: else -> break
    od;
    sh[me].folded = 0; sh[me].current = 0; sh[me].next = 1;
    sh[me].floor = 0; sh[me].through = 0;
    sh[me].seen = 0; sh[me].seen_end = 0; sh[me].seen_at = 0;
    sh[me].accepted[0] = 0; sh[me].accepted[1] = 0; sh[me].accepted[2] = 0; sh[me].accepted[3] = 0;
    sh[me].heard = 0; sh[me].stopped = 0; sh[me].refused = 0;
    assert(sh[me].made < SESSIONS - 1);
    sh[me].made++;
    sh[me].session = sh[me].made;
    if
    :: WITHOUT(RANDOM_IN_OPENED) ->
        /* The epoch alone: one more than the log holds. */
        sh[me].session = 1;
        number = 1;
        do
        :: number <= sh[me].end ->
            if
            :: event_kind(sh[me].log[number]) == OPENED -> sh[me].session++
            :: else
            fi;
            number++
        :: else -> break
        od
    :: else
    fi;
    append(me, OPENED | (sh[me].session << 4))
}

inline send(me, joined) {
    append(me, SENT | (sh[me].next << 4) | (sh[me].made << 6) | joined)
}

/* Takes the message in envelope item as new: applied and answered, applied and owed, or expired. */
inline receive(me, disposition) {
    number = sequence_of(item);
    /* An ordered channel applies in order: whatever is before it was taken, or will never be. */
    low = 1;
    do
    :: low < number ->
        assert(!ordered || sh[me].got[low] != 0 || restored[0] || restored[1] ||
            sh[peer_of(me)].result[low] != 0);
        low++
    :: else -> break
    od;
    append(me, RECEIVED | (number << 4) | (bytes_of(item) << 6) | (settled_of(item) << 9) | (offset_of(item) << 11) |
        (disposition << 15));
    if
    :: disposition != EXPIRED && number == 1 && caused[me] != 0 -> send(me, JOINED)
    :: else
    fi
}

#define may_send(me) \
    (!sh[me].stopped && sh[me].next <= orders[me] && sh[me].next - 1 - sh[me].settled < pending_max)

byte pick;                      /* the envelope that arrives, or the prefix that an old copy holds */
byte choice;

proctype Node(byte me) {
end:
    do
    :: atomic {
        if
        /* A command sends the next message. */
        :: may_send(me) -> d_step { send(me, 0); printf("%d sends\n", me) }

        /* An envelope arrives. */
        :: sh[me].hot != 0 ->
            do
            :: (sh[me].hot >> pick) & 1 -> break
            :: sh[me].hot >> (pick + 1) -> pick++
            od;
            if
            :: choice = REPLIED
            :: kind_of(sh[me].net[pick]) == DELIVER && deadlines -> choice = EXPIRED
            :: kind_of(sh[me].net[pick]) == DELIVER && defers -> choice = OWED
            fi;
            d_step {
                item = sh[me].net[pick];
                number = sequence_of(item);
                if
                :: kind_of(item) == ASK ->
                    sh[me].stopped = FORK;
                    sh[me].refused = statement_of(item);
                    /* A stop has a reason, and it is none of the past. */
                    assert(restored[0] || restored[1]);
                    self = me;
                    peer = peer_of(me);
                    item = statement(peer);
                    find();
                    assert(!found || restored[peer]);
                    item = sh[me].net[pick];
                    printf("%d stops: session %d says that it has seen session %d through %d\n", me,
                        from_of(item), statement_session(statement_of(item)), statement_offset(statement_of(item)))
                :: kind_of(item) == CONFIRMED ->
                    sh[me].heard = from_of(item);
                    if
                    :: sh[me].seen != from_of(item) ->
                        append(me, WITNESSED | (from_of(item) << 4) | (end_of(item) << 11))
                    :: else
                    fi;
                    printf("%d hears session %d\n", me, from_of(item))
                :: kind_of(item) == DELIVER ->
                    receive(me, choice);
                    printf("%d receives %d of session %d, settled through %d: %d\n", me, number, from_of(item),
                        settled_of(item), choice)
                :: kind_of(item) == ANSWER ->
                    if
                    :: sh[me].sent[number] != bytes_of(item) && !WITHOUT(DIGEST_IN_ANSWER) ->
                        sh[me].stopped = BYTES;
                        assert(restored[0] || restored[1])
                    :: else ->
                        /* No answer settles another message than the one it answers. */
                        assert(sh[me].sent[number] == bytes_of(item));
                        append(me, SETTLED | (number << 4) |
                            ((how_of(item) == EXPIRED -> TIMED_OUT : ACKNOWLEDGED) << 6) |
                            (offset_of(item) << 11))
                    fi;
                    printf("%d settles %d: %d\n", me, number, how_of(item))
                :: kind_of(item) == CONFLICT ->
                    sh[me].stopped = BYTES;
                    assert(restored[0] || restored[1]);
                    printf("%d stops: the peer holds other bytes of %d\n", me, number)
                fi;
                pick = 0;
                choice = 0
            }

        /* An answer that was deferred. */
        :: !sh[me].stopped && (sh[me].how[1] == OWED || sh[me].how[2] == OWED || sh[me].how[3] == OWED) ->
            pick = 1;
            do
            :: sh[me].how[pick] == OWED -> break
            :: sh[me].how[pick] != OWED || (pick < 3 && sh[me].how[pick + 1] == OWED) ||
                (pick < 2 && sh[me].how[pick + 2] == OWED) -> pick++
            od;
            skip;               /* a break may not lead into a d_step */
            d_step {
                append(me, ANSWERED | (pick << 4));
                printf("%d answers %d\n", me, pick);
                pick = 0
            }

        /* What was written becomes durable. */
        :: !is_durable(me) -> d_step { sh[me].durable = sh[me].end; printf("%d flushes\n", me) }

        /* An operator forces a timeout (rule 6). */
        :: forces_left[me] > 0 && !sh[me].stopped &&
            (is_pending(me, 1) || is_pending(me, 2) || is_pending(me, 3)) ->
            pick = 1;
            do
            :: is_pending(me, pick) -> break
            :: !is_pending(me, pick) || (pick < 3 && is_pending(me, pick + 1)) ||
                (pick < 2 && is_pending(me, pick + 2)) -> pick++
            od;
            skip;               /* a break may not lead into a d_step */
            d_step {
                forces_left[me]--;
                append(me, SETTLED | (pick << 4) | (FORCED << 6));
                printf("%d forces %d\n", me, pick);
                pick = 0
            }

        /* What a clock of the origin's own would do; only without rule 6. */
        :: WITHOUT(TIMEOUT_NEEDS_EVIDENCE) && deadlines && is_pending(me, 1) && !sh[me].stopped ->
            d_step { append(me, SETTLED | (1 << 4) | (TIMED_OUT << 6)) }

        /* A crash: what is not durable is lost. */
        :: crashes_left[me] > 0 ->
            d_step {
                crashes_left[me]--;
                restart(me);
                printf("%d crashes and opens session %d\n", me, sh[me].session)
            }

        /* An old copy of the log is put into place: a prefix that ends with a commit. */
        :: restores_left[me] > 0 && sh[me].durable > keeps ->
            pick = sh[me].durable - 1;
            do
            :: !(sh[me].log[pick + 1] & JOINED) -> break
            :: pick > keeps -> pick--
            od;
            skip;               /* a break may not lead into a d_step */
            d_step {
                restores_left[me]--;
                restored[me] = 1;
                sh[me].durable = pick;
                restart(me);
                printf("%d is restored to %d and opens session %d\n", me, pick, sh[me].session);
                pick = 0
            }

        /* `recover accept`: an operator lets a stopped shard go on, over exactly that statement. */
        :: sh[me].stopped == FORK && accepts_left > 0 ->
            d_step {
                accepts_left--;
                accepted = 1;
                item = sh[me].refused;
                restart(me);
                if
                :: !WITHOUT(ACCEPT_COVERS) -> append(me, INTERVENED | (item << 4))
                :: else
                fi;
                printf("%d is accepted and opens session %d\n", me, sh[me].session)
            }
        fi;
        d_step { finish() }
    }
    od
}

/* ---- The laws at the end: nothing is left to happen ---- */

#define budgets_left \
    (crashes_left[0] || crashes_left[1] || restores_left[0] || restores_left[1] || \
        forces_left[0] || forces_left[1])

inline check_end() {
    self = 0;
    do
    :: self < 2 && !sh[0].stopped && !sh[1].stopped ->
        peer = peer_of(self);
        /* Everything was sent, and is settled and answered. */
        assert(is_durable(self) && sh[self].heard == sh[peer].session);
        assert(sh[self].next > orders[self] && sh[self].settled + 1 == sh[self].next);
        number = 1;
        do
        :: number < SEQUENCES ->
            assert(sh[self].how[number] != OWED);
            /* Nobody stopped: then both halves agree, unless their loss was accepted. */
            assert(sh[self].got[number] == 0 || sh[self].got[number] == sh[peer].sent[number] || (accepted && restored[peer]));
            assert(sh[self].result[number] != ACKNOWLEDGED || (accepted && restored[peer]) ||
                (sh[peer].how[number] == REPLIED && sh[peer].got[number] == sh[self].sent[number]));
            assert(sh[self].result[number] != TIMED_OUT || (accepted && restored[peer]) ||
                (sh[peer].how[number] == EXPIRED && sh[peer].got[number] == sh[self].sent[number]));
            number++
        :: else -> break
        od;
        self++
    :: else -> break
    od;
    /* A stop is for an operator; with one at hand, none is left. */
    assert(accepts == 0 || (!sh[0].stopped && !sh[1].stopped))
}

proctype Judge() {
    do
    :: atomic {
        budgets_left ->
        d_step {
            crashes_left[0] = 0; crashes_left[1] = 0;
            restores_left[0] = 0; restores_left[1] = 0;
            forces_left[0] = 0; forces_left[1] = 0;
            printf("faults stop\n")
        }
    }
    :: timeout -> d_step { check_end() }; break
    od
}

init {
    atomic {
        c_code {
            orders[0] = setting("orders0", 0); orders[1] = setting("orders1", 0);
            caused[0] = setting("caused0", 0); caused[1] = setting("caused1", 0);
            pending_max = setting("pending", 3);
            ordered = setting("ordered", 1);
            deadlines = setting("deadlines", 0);
            defers = setting("defers", 0);
            crashes[0] = setting("crashes0", 0); crashes[1] = setting("crashes1", 0);
            restores[0] = setting("restores0", 0); restores[1] = setting("restores1", 0);
            forces[0] = setting("forces0", 0); forces[1] = setting("forces1", 0);
            accepts = setting("accepts", 0);
            keeps = setting("keeps", 1);
            without = setting("without", 0);
        };
        d_step {
            self = 0;
            do
            :: self < 2 ->
                crashes_left[self] = crashes[self];
                restores_left[self] = restores[self];
                forces_left[self] = forces[self];
                restart(self);
                sh[self].durable = 1;
                self++
            :: else -> break
            od;
            accepts_left = accepts;
            finish()
        };
        run Node(0);
        run Node(1);
        run Judge()
    }
}
