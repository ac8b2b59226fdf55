/*
 * The rules that can be taken out of the model, to see that it notices. `run` reads the numbers
 * from here.
 */

#define WITHOUT(rule) ((without >> rule) & 1)

/* Rule 1: write, then speak. */
#define MESSAGES_FROM_DURABLE 1
#define OPENED_BEFORE_SPEAKING 2
#define STAMPS_FROM_DURABLE 3
#define ANSWERS_FROM_DURABLE 4

/* Rule 2: sessions are confirmed before they are heard. */
#define SESSIONS_CONFIRMED 5
#define HANDSHAKE_EXEMPT 6
#define STATEMENT_COMPARED 7
#define OFFSET_IN_SESSION 8
#define OFFSET_IN_STATEMENT 9
#define FLOOR_IN_FOUND 10
#define LAST_SESSION_ALONE 11
#define BOTH_SESSIONS_NAMED 12
#define STOP_ONLY_IF_NAMED 13
#define RANDOM_IN_OPENED 14

/* `recover accept`. */
#define ACCEPT_COVERS 15
#define ACCEPT_CLOSES_OVERLAPS 16
#define ACCEPT_CLOSES_BELOW_FLOOR 17
#define ACCEPT_MOVES_NEXT 18

/* Rule 3: exactly once, in order. */
#define FLOOR_ON_THE_ORIGINS_WORD 19
#define EXPECTED_PAST_FLOOR 20
#define RECEIPTS_KEPT 21

/* Rule 4: identity before clock. */
#define IDENTITY_BEFORE_CLOCK 22
#define BYTES_COMPARED 23
#define CONFLICT_REPLIED 24
#define DIGEST_IN_ANSWER 25

/* Rules 6, 7 and 9. */
#define TIMEOUT_NEEDS_EVIDENCE 26
#define SETTLED_ONCE 27
#define ONLY_COMMANDS_REFUSED 28
