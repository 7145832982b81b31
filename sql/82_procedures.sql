-- Procedures: pgrx writes functions only. A SET clause or SECURITY DEFINER would keep one from committing.
CREATE PROCEDURE hiems.submit_prompt_detached(
    model text,
    messages jsonb,
    "user" text DEFAULT NULL,
    use_case text DEFAULT NULL,
    session_id text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    options jsonb DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    INOUT answer jsonb DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'submit_prompt_detached_wrapper';
