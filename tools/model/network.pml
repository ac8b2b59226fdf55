/*
 * What is found of a peer's statement, and the set of envelopes that may arrive.
 *
 * (1) Releasing early is never less than releasing late, since an envelope may arrive late: what
 *     may be released is released at once (`speak`), and so is a reply that changes nothing but the
 *     set (`react`).
 * (2) An envelope that can have no effect any more, whatever happens, is dropped (`sift`).
 */

/* ---- What is found (rule 2): sets `found` for statement item and shard `self`. ---- */

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
        item == sh[self].accepted[2] || item == sh[self].accepted[3] ||
            WITHOUT(SESSIONS_CONFIRMED) ->
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

/* What shard `self` may say of its own accord (rules 1, 2, 8): it asks, and sends again what is
   pending, to the peer's present session if that can be known. */
inline speak() {
    peer = peer_of(self);
    if
    :: !sh[self].stopped && may_speak(self) ->
        draft = header(ASK, sh[self].session, (is_open(peer) -> sh[peer].session : 0)) |
            (statement(self) << 9);
        release()
    :: else
    fi;
    number = 1;
    do
    :: number < SEQUENCES ->
        if
        :: !sh[self].stopped && is_open(self) && is_open(peer) && is_pending(self, number) &&
            (may_speak(self) || (WITHOUT(STAMPS_FROM_DURABLE) &&
                sh[self].sent_at[number] <= sh[self].durable) ||
                WITHOUT(MESSAGES_FROM_DURABLE)) ->
            draft = header(DELIVER, sh[self].session, sh[peer].session) | (number << 9) |
                (sh[self].sent[number] << 11) |
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

/* Replies of shard `self` that change nothing but the set: a confirmation, an answer again, a
   conflict. */
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
            :: !found || (WITHOUT(HANDSHAKE_EXEMPT) &&
                sh[self].heard != from_of(sh[self].net[warm])) -> draft = 0
            :: else
            fi
        :: kind_of(item) == DELIVER && names_me(item) && is_heard(item) &&
            sequence_of(item) > sh[self].floor &&
            is_known(self, sequence_of(item)) ->
            number = sequence_of(item);
            if
            :: sh[self].got[number] != bytes_of(item) && !WITHOUT(BYTES_COMPARED) ->
                if
                :: !WITHOUT(CONFLICT_REPLIED) ->
                    draft = header(CONFLICT, sh[self].session, from_of(item)) | (number << 9) |
                        (sh[self].got[number] << 11)
                :: else
                fi
            :: WITHOUT(IDENTITY_BEFORE_CLOCK) && deadlines && sh[self].how[number] != EXPIRED ->
                draft = header(ANSWER, sh[self].session, from_of(item)) | (number << 9) |
                    (sh[self].got[number] << 11) |
                    (EXPIRED << 14) | (sh[self].at[number] << 16)
            :: else ->
                if
                :: sh[self].how[number] != OWED ->
                    draft = header(ANSWER, sh[self].session, from_of(item)) | (number << 9) |
                        (sh[self].got[number] << 11) |
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
    (((floor) > sh[self].through && !WITHOUT(EXPECTED_PAST_FLOOR) -> \
        (floor) : sh[self].through) + 1)
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
        /* takes nothing; whatever follows is a session of its own */
        :: sh[self].stopped ->
            keep = (kind_of(draft) == ASK && WITHOUT(STOP_ONLY_IF_NAMED))
        :: !sh[self].stopped && kind_of(draft) == ASK ->
            item = statement_of(draft);
            find();
            if
            :: !found && (to_of(draft) == sh[self].session || WITHOUT(STOP_ONLY_IF_NAMED)) ->
                keep = 1;
                warm = 1                /* history has forked */
            :: else ->
                /* Only the present question of a living session can be answered to some end. */
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
                !(is_known(self, number) && is_heard(draft) && is_durable(self) &&
                    sh[self].how[number] != OWED &&
                    !WITHOUT(RECEIPTS_KEPT)));
            warm = (keep && is_heard(draft) && is_admitted() &&
                (!is_known(self, number) || (WITHOUT(RECEIPTS_KEPT) &&
                    sh[self].how[number] == REPLIED)) &&
                (!ordered || number == expected(larger(sh[self].floor, settled_of(draft)))))
        :: !sh[self].stopped && kind_of(draft) == ANSWER ->
            keep = (names_me(draft) && (sh[self].result[number] == 0 || WITHOUT(SETTLED_ONCE)));
            warm = (keep && is_heard(draft) && (is_pending(self, number) || WITHOUT(SETTLED_ONCE)))
        :: !sh[self].stopped && kind_of(draft) == CONFLICT ->
            keep = (names_me(draft) && sh[self].result[number] == 0);
            warm = (keep && is_heard(draft) && is_pending(self, number) &&
                sh[self].sent[number] != bytes_of(draft))
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
