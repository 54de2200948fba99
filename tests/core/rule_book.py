"""The rule book typed a second time, by hand from the written one, as plain tables.

PO potential owner, OW actual owner, AD administrator, ED editor, RD reader, SH stakeholder,
OR originator, PS potential starter, SR starter, ER escalation receiver, XO excluded owner.
"""

OPERATIONS = """
operation           | permission        | event                  | reason         | kinds  | excluded  | already ours
activate            | activate_task     | activated              | -              | all    | not by it | -
nominate            | nominate_task     | nominated              | -              | manual | not by it | -
claim               | claim_task        | claimed                | -              | manual | never     | says so
start               | start_task        | started                | -              | manual | never     | -
stop                | stop_task         | stopped                | -              | all    | not by it | -
release             | release_task      | released               | unless owner's | all    | as others | -
cancel_claim        | release_task      | claim_cancelled        | -              | all    | as others | -
assign              | assign_task       | assigned               | -              | manual | not by it | -
delegate            | delegate_task     | delegated              | -              | manual | not by it | -
forward             | forward_task      | forwarded              | -              | all    | not by it | -
suspend             | suspend_task      | suspended              | -              | all    | not by it | -
suspend_and_release | suspend_task      | suspended_and_released | -              | all    | not by it | -
resume              | resume_task       | resumed                | -              | all    | not by it | -
save_output         | save_task         | output_saved           | -              | manual | never     | -
save_fault          | save_task         | fault_saved            | -              | manual | never     | -
complete            | complete_task     | completed              | -              | manual | never     | -
finish              | finish_task       | finished               | -              | manual | never     | -
fail                | fail_task         | failed                 | -              | manual | never     | -
skip                | skip_task         | skipped                | yes            | all    | not by it | -
exit                | exit_task         | exited                 | yes            | all    | not by it | -
raise_error         | raise_error_task  | error_raised           | -              | all    | not by it | -
expire              | -                 | expired                | -              | all    | not by it | -
mark_unclaimable    | -                 | became_unclaimable     | -              | all    | not by it | -
mark_claimable      | -                 | became_claimable       | -              | all    | not by it | -
reopen              | reopen_task       | reopened               | -              | all    | not by it | -
retry               | retry_task        | retried                | -              | all    | as others | -
set_priority        | set_priority_task | priority_set           | -              | all    | not by it | -
comment             | comment_task      | commented              | -              | all    | not by it | -
attach              | attach_task       | attached               | -              | all    | not by it | -
remove              | delete_task       | removed                | -              | all    | not by it | -
"""
"""`excluded`: what an excluded owner may do with the other roles he holds. Never; as others
who hold them; or not by the roles of those who work (PO, OW, ED)."""

RULES = """
operation           | from                                          | to          | roles                               | on hold too
activate            | created                                       | ready       | OR PS AD                            | -
nominate            | created                                       | reserved    | AD                                  | -
claim               | ready                                         | reserved    | PO AD                               | if the task says so
start               | ready                                         | in_progress | PO AD                               | -
start               | reserved                                      | in_progress | OW                                  | -
stop                | in_progress                                   | reserved    | OW AD                               | -
release             | reserved in_progress                          | ready       | OW AD PO+release_others_task        | AD
cancel_claim        | reserved in_progress                          | ready       | OW AD                               | -
assign              | ready                                         | reserved    | PO AD                               | -
assign              | reserved in_progress                          | reserved    | OW AD                               | AD
delegate            | ready                                         | reserved    | PO AD                               | -
delegate            | reserved in_progress                          | reserved    | OW AD                               | -
forward             | ready                                         | ready       | PO AD                               | AD
forward             | reserved in_progress                          | ready       | OW AD                               | AD
suspend             | ready                                         | same        | PO OR AD                            | -
suspend             | reserved in_progress                          | same        | OW OR AD                            | -
suspend_and_release | reserved in_progress                          | ready       | OW AD                               | -
resume              | ready                                         | same        | PO OR AD                            | only then
resume              | reserved in_progress                          | same        | OW OR AD                            | only then
save_output         | reserved in_progress                          | same        | OW ED AD                            | -
save_fault          | reserved in_progress                          | same        | OW ED AD                            | -
complete            | reserved in_progress                          | completed   | OW AD                               | -
finish              | ready                                         | completed   | PO AD                               | -
finish              | reserved in_progress                          | completed   | OW AD                               | -
fail                | reserved in_progress                          | failed      | OW AD                               | -
skip                | created                                       | obsolete    | OR AD                               | -
skip                | ready                                         | obsolete    | PO AD                               | -
skip                | reserved in_progress                          | obsolete    | OW AD                               | -
exit                | created ready reserved in_progress            | exited      | OR SR AD                            | OR SR AD
raise_error         | created ready reserved in_progress            | error       | AD                                  | AD
expire              | created ready reserved in_progress            | expired     | system                              | AD
mark_unclaimable    | ready                                         | same        | system                              | AD
mark_claimable      | any                                           | same        | system                              | AD
reopen              | completed failed error exited obsolete expired | ready      | OR AD                               | -
retry               | failed error                                  | ready       | PO OW AD ED RD SH OR PS SR ER       | -
set_priority        | created ready reserved in_progress            | same        | OW OR PS SR AD                      | OW OR PS SR AD
comment             | any                                           | same        | PO OW ED SH OR AD                   | PO OW ED SH OR AD
attach              | any                                           | same        | PO OW ED SH OR AD                   | PO OW ED SH OR AD
remove              | created                                       | same        | OR AD                               | -
remove              | completed failed error exited obsolete expired | same       | AD                                  | -
"""
"""`nominate` leads to ready where more than one user is named, `finish` to failed where that is what
is said. A removed task is gone; `same` says that its last event names no other state."""

PROPERTIES = """
property            | from                               | by
name                | any                                | OW SR OR ED AD
description         | any                                | OW SR OR ED AD
custom_properties   | any                                | OW SR OR ED AD
due_at              | created ready reserved in_progress | OW SR OR ED AD
priority            | created ready reserved in_progress | OW OR PS SR AD
expires_at          | created ready reserved in_progress | OR AD
skippable           | created ready reserved in_progress | OR AD
claim_while_on_hold | created ready                      | OW OR ED AD
automatic_claim     | created                            | OR AD
input               | created                            | OR PS AD
output_schema       | created ready                      | OR AD
"""
"""What may be updated, in which states, by whom; on hold too. Several at once: all or none."""

OWN_PART = {"forward"}
"""Operations by which nobody but an administrator gives away what is not his own."""

SKIPPABLE_ONLY = {"skip"}
"""Operations for tasks alone that say they may be skipped."""

WITH_SUBTASKS = """
operation           | subtasks in
suspend             | ready reserved in_progress
suspend_and_release | ready reserved in_progress
resume              | ready reserved in_progress
exit                | created ready reserved in_progress
remove              | created completed failed error exited obsolete expired
"""
"""What is done to a task is done to its subtasks in these states too."""

ASSIGNMENTS = """
by | to
PO | PO
OW | PO AD
AD | anybody
"""
"""To whom a task may be assigned: what the receiver must be to it, by what the caller is to it.
Delegated and nominated to anybody."""

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

SYSTEM_ROLES = """
grants                                                                      | admin | engineering | operations | apiwrite | apiread | viewer | retryUser
view_task                                                                   | Y     | Y           | Y          | -        | Y       | Y      | -
claim_task start_task stop_task release_task assign_task delegate_task      | Y     | Y           | Y          | Y        | -       | -      | -
forward_task transfer_task suspend_task resume_task save_task complete_task | Y     | Y           | Y          | Y        | -       | -      | -
finish_task fail_task skip_task comment_task attach_task undo_task          | Y     | Y           | Y          | Y        | -       | -      | -
add_task activate_task nominate_task change_task set_priority_task          | Y     | Y           | -          | Y        | -       | -      | -
grant_task exit_task raise_error_task                                       | Y     | Y           | -          | Y        | -       | -      | -
reopen_task delete_task                                                     | Y     | -           | -          | -        | -       | -      | -
retry_task                                                                  | -     | -           | -          | -        | -       | -      | Y
administrator                                                               | Y     | -           | -          | Y        | -       | -      | -
reader                                                                      | Y     | -           | -          | -        | Y       | Y      | -
release_others_task                                                         | Y     | Y           | Y          | Y        | -       | -      | -
"""
"""Gate 1. `administrator` and `reader` mean: on every task."""
