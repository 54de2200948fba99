"""The rule book typed a second time, by hand from the written one, as plain tables.

PO potential owner, OW actual owner, AD administrator, ED editor, RD reader, SH stakeholder,
OR originator, PS potential starter, SR starter, ER escalation receiver, XO excluded owner.
"""

OPERATIONS = """
operation    | permission    | event           | reason         | kinds  | excluded  | already ours
claim        | claim_task    | claimed         | -              | manual | never     | says so
release      | release_task  | released        | unless owner's | all    | as others | -
cancel_claim | release_task  | claim_cancelled | -              | all    | as others | -
assign       | assign_task   | assigned        | -              | manual | not by it | -
complete     | complete_task | completed       | -              | manual | never     | -
finish       | finish_task   | finished        | -              | manual | never     | -
"""
"""`excluded`: what an excluded owner may do with the other roles he holds. Never; as others
who hold them; or not by the roles of those who work (PO, OW, ED)."""

RULES = """
operation    | from                 | to        | roles                        | on hold too
claim        | ready                | reserved  | PO AD                        | if the task says so
release      | reserved in_progress | ready     | OW AD PO+release_others_task | AD
cancel_claim | reserved in_progress | ready     | OW AD                        | -
assign       | ready                | reserved  | PO AD                        | -
assign       | reserved in_progress | reserved  | OW AD                        | AD
complete     | reserved in_progress | completed | OW AD                        | -
finish       | ready                | completed | PO AD                        | -
finish       | reserved in_progress | completed | OW AD                        | -
"""

ASSIGNMENTS = """
by | to
PO | PO
OW | PO AD
AD | anybody
"""
"""To whom a task may be assigned: what the receiver must be to it, by what the caller is to it."""

TRANSFERS = """
role                | by | to        | from
owner               | OW | PO AD     | reserved in_progress
owner               | AD | anybody   | reserved in_progress
starter             | SR | PS AD     | in_progress completed failed error exited obsolete expired
starter             | AD | anybody   | in_progress completed failed error exited obsolete expired
originator          | OR | AD create | any
potential_starter   | OR | anybody   | created
potential_starter   | AD | anybody   | created
potential_owner     | AD | anybody   | ready reserved in_progress
editor              | AD | anybody   | ready reserved in_progress
reader              | AD | anybody   | any but created
stakeholder         | AD | anybody   | any but created
administrator       | AD | anybody   | any but created
escalation_receiver | AD | anybody   | ready reserved in_progress
"""
"""All leave the state as it is and are allowed on hold; `create`: whoever may create tasks."""

WORK_ITEMS = """
role                | while created | else by | in
potential_owner     | AD OR         | AD      | ready reserved in_progress
editor              | AD OR         | AD      | ready reserved in_progress
escalation_receiver | AD OR         | AD      | ready reserved in_progress
excluded_owner      | AD OR         | AD      | ready reserved in_progress
potential_starter   | AD OR         | -       | -
reader              | AD OR         | AD      | any but created
stakeholder         | AD OR         | AD      | any but created
administrator       | AD OR         | AD      | any but created
"""
"""Who may grant and revoke which task role; on hold too. Owner, originator, starter: nobody."""

STATES = """
created ready reserved in_progress completed failed error exited obsolete expired
"""

ROLES = {
    "PO": "potential_owner",
    "OW": "owner",
    "AD": "administrator",
    "ED": "editor",
    "RD": "reader",
    "SH": "stakeholder",
    "OR": "originator",
    "PS": "potential_starter",
    "SR": "starter",
    "ER": "escalation_receiver",
    "XO": "excluded_owner",
}
