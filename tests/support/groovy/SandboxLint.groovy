import org.codehaus.groovy.ast.ClassCodeVisitorSupport
import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.MethodNode
import org.codehaus.groovy.ast.expr.*
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.Phases
import org.codehaus.groovy.control.SourceUnit

/**
 * Holds a library against what needs no approval in Jenkins: a list of what is permitted, and everything else is a finding.
 *
 * Source: script-security-plugin @ a5f0130aa482 (2026-06), generic-whitelist: each method and constructor below is on it.
 *         workflow-cps-plugin @ e007b7ff2178 (2026-07): closures are the bodies of steps, the only ones that CPS always takes.
 */
class SandboxLint {
    static final Set CONSTRUCTORS = ['groovy.json.JsonSlurper']
    static final Set STATIC = ['JsonOutput.toJson', 'UUID.randomUUID', 'Integer.parseInt']
    static final Set METHODS = [
        'parseText', 'keySet', 'get', 'put', 'containsKey', 'add', 'contains', 'join', 'replace', 'replaceAll', 'indexOf',
        'length', 'substring', 'trim', 'toString',
    ]
    static final Set STEPS = ['sh', 'input', 'withCredentials', 'timeout', 'node', 'error', 'string', 'text', 'choice']
    static final Set BODIES = ['withCredentials', 'timeout', 'node']
    static final Set ANNOTATIONS = ['NonCPS']

    private final File library

    SandboxLint(File library) { this.library = library }

    /** Return what is not permitted: `file:line what`. */
    List findings() {
        CompilationUnit unit = new CompilationUnit(new CompilerConfiguration(), null, new GroovyClassLoader(SandboxLint.classLoader))
        library.eachFileRecurse { if (it.name.endsWith('.groovy')) unit.addSource(it) }
        unit.compile(Phases.SEMANTIC_ANALYSIS)
        Set own = unit.AST.classes*.name as Set
        Set methods = unit.AST.classes.collectMany { it.methods*.name } as Set
        List found = []
        unit.iterator().each { SourceUnit source ->
            source.AST.classes.each { new Visitor(source, own, methods, found).visitClass(it) }
        }
        return found
    }

    private static class Visitor extends ClassCodeVisitorSupport {
        private final SourceUnit source
        private final Set own
        private final Set methods
        private final List found
        private boolean isNonCps

        Visitor(SourceUnit source, Set own, Set methods, List found) {
            this.source = source
            this.own = own
            this.methods = methods
            this.found = found
        }

        protected SourceUnit getSourceUnit() { source }

        private void forbid(def node, String what) { found << "${new File(source.name).name}:${node.lineNumber} ${what}".toString() }

        void visitMethod(MethodNode method) {
            if (method.name == 'main' && method.lineNumber < 0) { // of every script, by Groovy itself
                return
            }
            isNonCps = method.annotations.any { it.classNode.nameWithoutPackage == 'NonCPS' }
            (method.annotations*.classNode*.nameWithoutPackage - ANNOTATIONS).each { forbid(method, "annotation ${it}") }
            super.visitMethod(method)
        }

        void visitConstructorCallExpression(ConstructorCallExpression call) {
            if (!call.isSpecialCall() && !(call.type.name in CONSTRUCTORS + own)) {
                forbid(call, "new ${call.type.name}")
            }
            super.visitConstructorCallExpression(call)
        }

        void visitStaticMethodCallExpression(StaticMethodCallExpression call) {
            if (!(call.ownerType.name in own)) {
                forbid(call, "${call.ownerType.name}.${call.method}")
            }
            super.visitStaticMethodCallExpression(call)
        }

        void visitMethodCallExpression(MethodCallExpression call) {
            String name = call.methodAsString
            Expression on = call.objectExpression
            if (on instanceof ClassExpression) {
                if (!(on.type.name in own) && !("${on.type.nameWithoutPackage}.${name}".toString() in STATIC)) {
                    forbid(call, "${on.type.name}.${name}")
                }
            } else if (call.implicitThis || on.text == 'steps') {
                if (!(name in STEPS + methods)) {
                    forbid(call, "step ${name}")
                }
                if (isNonCps && name in STEPS && !(name in methods)) {
                    forbid(call, "step ${name} in a method without CPS")
                }
            } else if (!(name in METHODS + methods)) {
                forbid(call, "method ${name}")
            }
            on.visit(this)
            call.method.visit(this)
            visitArguments(call.arguments, name)
        }

        private void visitArguments(Expression arguments, String name) {
            def all = arguments instanceof TupleExpression ? arguments.expressions : [arguments]
            all.each {
                if (it instanceof ClosureExpression && name in BODIES) {
                    it.code.visit(this)
                } else {
                    it.visit(this)
                }
            }
        }

        void visitClosureExpression(ClosureExpression closure) {
            forbid(closure, 'a closure that is no step\'s body')
            super.visitClosureExpression(closure)
        }

        void visitPropertyExpression(PropertyExpression property) {
            if (property.propertyAsString in ['class', 'metaClass', 'classLoader'] || property.objectExpression instanceof ClassExpression
                    && !(property.objectExpression.type.name in own)) {
                forbid(property, "property ${property.text}")
            }
            super.visitPropertyExpression(property)
        }

        void visitBinaryExpression(BinaryExpression binary) {
            if (binary.operation.text == '=~') {
                forbid(binary, 'a matcher, which no restart survives')
            }
            super.visitBinaryExpression(binary)
        }

        void visitMethodPointerExpression(MethodPointerExpression pointer) { forbid(pointer, 'a method pointer') }
    }
}
