/* What a state is made of. */

#define EVENTS 16               /* offsets are 1...15 */
#define SLOTS 20
#define SEQUENCES 4             /* sequences are 1...3 */
#define SESSIONS 8              /* sessions are 1...7; 0 is none */

/* ---- Settings: constants of a run, from the environment, and so not a part of the state. ---- */

hidden byte orders[2];          /* messages that commands send */
hidden byte caused[2];          /* messages that are sent because of the receipt of sequence 1 */
hidden byte pending_max;        /* rule 9 */
hidden byte ordered;            /* both channels are */
/* messages have one; lateness is a free choice of the destination */
hidden byte deadlines;
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
#define RECEIVED 3              /* sequence, bytes, settled-through 9-10, the origin's offset 11-14,
                                   how 15-16 */
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

#define statement(shard) \
    (sh[shard].seen | (sh[shard].seen_end << 3) | (sh[shard].seen_at << 7) | \
        (sh[shard].through << 11) | (sh[shard].floor << 13) | (sh[shard].settled << 15))
#define statement_session(item) ((item) & 7)
#define statement_offset(item) (((item) >> 3) & 15)
#define statement_through(item) (((item) >> 11) & 3)
#define statement_floor(item) (((item) >> 13) & 3)
#define statement_settled(item) (((item) >> 15) & 3)

/* ---- Envelopes: kind in bits 0-2, the sender's session 3-5, the receiver's 6-8. ---- */

#define ASK 1                   /* confirm?: statement 9-25 */
#define CONFIRMED 2             /* the asker's statement 9-25, the sender's durable end 26-29 */
#define DELIVER 3               /* sequence 9-10, bytes 11-13, settled-through 14-15, offset
                                   16-19 */
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
    /* what was witnessed: the peer's session, offset; where it is recorded */
    byte seen;
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
hidden byte self;
hidden byte peer;
hidden byte number;
hidden byte low;
hidden byte place;
hidden byte found;
hidden byte keep;
hidden byte warm;
hidden byte kept;
hidden int event;
hidden int item;
hidden int draft;

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
