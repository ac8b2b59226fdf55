/*
 * The protocol between two shards (rules 1 to 11 of the design, as Sources/TallyCore has them), for
 * spin.
 *
 * A shard is its log: an array of events, its durable end, and the fold of it. What is volatile
 * besides is the session it hears and whether it stopped. A network is a set of envelopes for each
 * receiver: whatever was once released may arrive at any time, any number of times, in any order,
 * or never. How the set is kept small without losing a history is said in network.pml.
 *
 * Steps are: a command, the arrival of an envelope that has an effect, a deferred answer, a flush,
 * a crash, a stale restore, a forced timeout, an accept, and that faults stop. Every step appends
 * to a log or uses something up, so every run ends; where nothing is left to happen everything must
 * be settled (`Judge`).
 */

#include "rules.pml"
#include "state.pml"
#include "fold.pml"
#include "network.pml"

/* ---- The laws that hold at every moment, until an old copy is put into place ---- */

inline check_halves() {
    number = 1;
    peer = peer_of(self);
    do
    :: number < SEQUENCES ->
        /* A receipt has its send, with the same bytes, and it was durable. */
        assert(sh[self].got[number] == 0 || restored[peer] ||
            (sh[self].got[number] == sh[peer].sent[number] &&
                sh[peer].sent_at[number] <= sh[peer].durable));
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
    append(me, RECEIVED | (number << 4) | (bytes_of(item) << 6) | (settled_of(item) << 9) |
        (offset_of(item) << 11) |
        (disposition << 15));
    if
    :: disposition != EXPIRED && number == 1 && caused[me] != 0 -> send(me, JOINED)
    :: else
    fi
}

#define may_send(me) \
    (!sh[me].stopped && sh[me].next <= orders[me] && sh[me].next - 1 - sh[me].settled < pending_max)

/* the envelope that arrives, or the prefix that an old copy holds */
byte pick;
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
                        from_of(item), statement_session(statement_of(item)),
                        statement_offset(statement_of(item)))
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
                    printf("%d receives %d of session %d, settled through %d: %d\n", me, number,
                        from_of(item),
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
        :: !sh[me].stopped && (sh[me].how[1] == OWED || sh[me].how[2] == OWED ||
            sh[me].how[3] == OWED) ->
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
            assert(sh[self].got[number] == 0 || sh[self].got[number] == sh[peer].sent[number] ||
                (accepted && restored[peer]));
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
